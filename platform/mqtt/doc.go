// Package mqtt is the root of MQTT as Muster speaks it: the bytes (packet), one connection of a server that takes messages and
// gives none (session), and a client that publishes (publisher).
//
// Topics, what a message means and who may send it are the business of who uses these: the gateway and the edge.
package mqtt
