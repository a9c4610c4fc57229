package stacktest

import (
	"net"
	"slices"
	"testing"

	"muster.dev/cmd/muster/stack"
)

func TestAnOffsetIsOfFreePortsThatNoConnectionIsGiven(t *testing.T) {
	ports, err := stack.PortsAt(FreeOffset(t))
	if err != nil {
		t.Fatal(err)
	}
	all := ports.All()
	if len(all) != 12 || slices.Max(all) >= 32768 {
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
