// Package chance is streams of chance that give the same numbers for ever: on every machine, whoever else draws.
//
// A stream belongs to a seed, a purpose and what it is about, such as a device. What one purpose uses up changes no other, so
// that a fault more in a scenario leaves the devices' temperatures as they are. Floating point is written so that no
// compiler may fuse it.
package chance
