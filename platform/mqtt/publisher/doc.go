// Package publisher is a small MQTT client that publishes, 3.1.1 and 5.0, QoS 0 and 1: for what stands in a device's place in
// tests, in simulations and under load. Several messages may be on their way at once.
//
// It keeps nothing and does not connect again: what has not been answered when the connection ends is told as *Ended, and whoever
// published it decides. It does not subscribe.
package publisher
