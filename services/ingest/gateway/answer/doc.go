// Package answer is what the gateway says to a device: one table of every outcome a request can have, the RFC 9457
// problem that a refusal carries and the JSON that a stored message gets.
//
// It is pure: values in, bytes out. It knows nothing of sockets, Kafka or devices, so what the outside sees can be read
// and tested here alone. The HTTP status decides what a device does next: 2xx stored, 4xx refused for good, 429 not
// stored and to be sent again later, 503 outcome unknown and to be sent again under the same seq.
package answer
