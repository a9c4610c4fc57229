//go:build race

package batch_test

// raceEnabled: sync.Pool forgets at random then, so that allocations cannot be counted.
const raceEnabled = true
