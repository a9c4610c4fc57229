// Package simulator is a fleet of devices with real-looking signals that uses the gateway like any device.
//
// In: identities that were enrolled before, one directory a device. Out: compact batches, each device's in order,
// kept until they are answered for. Each device has a rhythm of its own: it takes a step every few seconds and
// posts what it has every several, both with jitter; now and then it takes an answer for lost and sends the same
// message again, and now and then it reboots: the boot counter, which lies beside the identity, rises and seq begins
// at 0. What was not answered for keeps its old key.
//
// The values are a pure function of the seed, the device, its boot and the times of its steps. The clock is the
// real one.
//
// A producer's journal may be kept: one line for each message that the gateway accepted, written after its 200 and
// on the disk before Run returns. Whoever compares it with the warehouse knows that no line may be missing there.
package simulator
