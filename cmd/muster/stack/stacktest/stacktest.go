package stacktest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"testing"

	"muster.dev/cmd/muster/stack"
	engine "muster.dev/embedded/clickhouse"
)

// Require skips loudly where something is missing, and fails where CI promised that it is there.
func Require(t testing.TB, ok bool, what string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("CI") != "":
		t.Fatalf("CI must have %s", what)
	default:
		t.Skipf("SKIPPED: needs %s", what)
	}
}

// Engine is where the store's library lies, told to the test's processes: their program lies outside of the repository.
func Engine(t testing.TB) {
	t.Helper()
	lib, err := engine.FindLibrary()
	Require(t, err == nil, fmt.Sprintf("the engine: %v", err))
	t.Setenv(engine.EnvLibrary, lib)
}

// FreeOffset is a --listen-offset of which no port is taken.
func FreeOffset(t testing.TB) int {
	t.Helper()
	for range 100 {
		// Below 32768 Linux takes no port for an outgoing connection: a part that is started again finds its own.
		offset := 10_000 + rand.IntN(13_000)
		ports, err := stack.PortsAt(offset)
		if err != nil {
			t.Fatal(err)
		}
		free := true
		for _, p := range ports.All() {
			free = free && Free(p)
		}
		if free {
			return offset
		}
	}
	t.Fatal("no free ports")
	return 0
}

// Free says whether nobody listens on a port now.
func Free(port int) bool {
	l, err := net.Listen("tcp", stack.Loopback(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
