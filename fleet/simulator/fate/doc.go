// Package fate is what happens to one device, whatever it measures and whatever the radio does: power, firmware, crashes, updates, the
// battery. In: a plan and a device. Out: moments that change what the device does, and lines of its truth.
//
// A fate runs ahead of the device's messages: what was kept through an outage is sent only if the device still lives when the outage
// ends. What the device makes and what arrives is package world's.
package fate
