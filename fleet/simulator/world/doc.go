// Package world is what a scenario does in time: a pure function from a scenario and a seed to every device's life.
//
// In: a scenario and a seed. Out: for each device, in order of time, what arrives at a gateway (with the bytes), what was
// made and got lost, what happened to it in truth, and each day's counts. There is no clock, no network and no goroutine
// here: drivers play a life against a clock, or merge all lives onto a log.
//
// It stands on three others, in the order in which a device meets them: package chance is what all of them draw from, package plan what is
// settled in advance, package fate whether a device is up and what it runs. What it measures, when it speaks and what gets through is here.
//
// Each device draws from streams of its own and knows of the others only what the plan says. So lives may be run in any order
// and by any number of workers, and give the same bytes. Floating point is written so that no compiler may fuse it.
package world
