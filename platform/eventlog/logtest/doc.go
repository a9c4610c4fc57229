// Package logtest gives a test a log to speak to: a broker in memory, or the real one that MUSTER_TEST_KAFKA names
// (host:port; `make test-kafka` does it), so that what holds on the one is shown to hold on the other.
//
// A real broker serves all tests, one after another: Start empties it, of every topic and every group. Never name
// one that holds anything. Tests that make a broker fail need the one in memory, and say so with OnlyFake.
//
// It knows nothing of what is written to the log, and no product code may import it.
package logtest
