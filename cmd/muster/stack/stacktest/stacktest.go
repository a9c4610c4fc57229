package stacktest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
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

// Ports are below 32768, where Linux takes none for an outgoing connection: a process that is started again finds its own.
// Those of one process are below those of any stack.

// FreeOffset is a --listen-offset of which no port is taken, nor will be by another test's stack before this test ends.
func FreeOffset(t testing.TB) int {
	t.Helper()
	return 10_000 + free(t, 13_000, func(n int) []int {
		ports, err := stack.PortsAt(10_000 + n)
		if err != nil {
			t.Fatal(err)
		}
		return ports.All()
	})
}

// FreePort is such a port for one process.
func FreePort(t testing.TB) int {
	t.Helper()
	return 16_000 + free(t, 2000, func(n int) []int { return []int{16_000 + n} })
}

// free draws a number below limit whose ports are free, and reserves them.
func free(t testing.TB, limit int, ports func(n int) []int) int {
	t.Helper()
	for range 100 {
		n := rand.IntN(limit)
		if release, ok := reserve(ports(n)); ok {
			t.Cleanup(release)
			return n
		}
	}
	t.Fatal("no free ports")
	return 0
}

// reserve takes ports for a test: those of a part that is dead for a moment are free, and still not another's. What says
// so to other processes is a name of Linux's abstract sockets, which ends with its process.
func reserve(ports []int) (release func(), ok bool) {
	var names []net.Listener
	release = func() {
		for _, l := range names {
			l.Close()
		}
	}
	for _, p := range ports {
		if runtime.GOOS == "linux" {
			l, err := net.Listen("unix", fmt.Sprintf("@muster-test-port-%d", p))
			if err != nil {
				release()
				return nil, false
			}
			names = append(names, l)
		}
		if !Free(p) {
			release()
			return nil, false
		}
	}
	return release, true
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
