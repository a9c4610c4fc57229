// Package clones notices when one identity looks like two devices: its messages come from two addresses, or under two
// keys, in turns. It remembers of each device where its last messages came from, as long as there is room, and how
// lately each kind of sign was told.
//
// One place after another is a device that moved, or that renewed its key; several connections of one address and one
// key are one place. A sign is a place that was left, come back to, left and come back to within minutes. That is still
// no proof: a device with two networks that both flap can look so. Whoever reads the signs judges.
//
// It promises nothing: it is bounded, it dies with the process, and another gateway's connections are not seen.
package clones
