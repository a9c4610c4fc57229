package stacktest

import (
	"net"
	"slices"
	"testing"

	"muster.dev/cmd/muster/stack"
)

func TestAPortIsGivenOnce(t *testing.T) {
	port := FreePort(t)
	if !Free(port) || port >= 18_000 {
		t.Errorf("port %d, free: %v", port, Free(port))
	}
	if _, ok := reserve([]int{port + 5000, port}); ok {
		t.Error("a port that a test has, and does not listen on now, is given to another")
	}
	if release, ok := reserve([]int{port + 5000}); ok {
		release()
	} else {
		t.Log("somebody else has the other port meanwhile")
	}
}

func TestAnOffsetIsOfFreePortsThatNoConnectionIsGiven(t *testing.T) {
	ports, err := stack.PortsAt(FreeOffset(t))
	if err != nil {
		t.Fatal(err)
	}
	all := ports.All()
	if len(all) != 14 || slices.Max(all) >= 32768 {
		t.Errorf("%v", all)
	}
	l, err := net.Listen("tcp", stack.Loopback(ports.Gateway))
	if err != nil {
		t.Skipf("SKIPPED: somebody else took the port meanwhile: %v", err)
	}
	defer l.Close()
	if Free(ports.Gateway) {
		t.Error("a port that is listened on is said to be free")
	}
}

func TestWhatIsThereIsRequiredSilently(t *testing.T) {
	Require(t, true, "nothing")
	if t.Skipped() || t.Failed() {
		t.Error("what is there is missed")
	}
}
