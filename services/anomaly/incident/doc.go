// Package incident makes incidents of what the detectors say: one for a cause, not one for a device. A detector tells
// Signals, each of what it sees at an instant; a Book opens, updates, closes and opens again by them, in event time.
//
// The same signals in the same order give the same incidents, byte for byte. A Book keeps no clock, no file and no
// connection, and what it holds is bounded whatever it is told.
package incident
