// Package field holds the trials of what stands at a site between devices and the gateway: an edge, and a mosquitto that
// bridges in its place. Each runs against the real gateway and a log, takes something away for a time (the gateway, the
// process itself, its right to speak, its disk), and compares what clients were told is kept with what the log has.
//
// There is nothing here but tests.
package field
