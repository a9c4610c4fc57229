package stack

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestACheckTellsATakenPortAndMakesNothing(t *testing.T) {
	offset := 0
	var held net.Listener
	for o := 20_000; held == nil && o < 20_100; o++ {
		if p, err := PortsAt(o); err != nil {
			t.Fatal(err)
		} else if l, err := net.Listen("tcp", Loopback(p.Registry)); err == nil {
			held, offset = l, o
		}
	}
	if held == nil {
		t.Fatal("no free port")
	}
	defer held.Close()
	o := Order{Dir: Dir(filepath.Join(t.TempDir(), "data")), Offset: offset}
	t.Setenv("MUSTER_CHDB_LIB", filepath.Join(t.TempDir(), "no-library-yet"))
	err := Check(o)
	if err == nil || !strings.Contains(err.Error(), "which registry needs, is taken") || !strings.Contains(err.Error(), "--listen-offset") {
		t.Error(err)
	}
	if _, err := os.Stat(string(o.Dir)); !os.IsNotExist(err) {
		t.Errorf("the check made the directory: %v", err)
	}

	// One that is still to end, and has ports meanwhile, is Up's to wait for.
	if err := o.Dir.create(); err != nil {
		t.Fatal(err)
	}
	leave(t, o.Dir, Registry)
	if err := Check(o); err != nil {
		t.Errorf("with a process of a killed stack: %v", err)
	}

	release, err := o.Dir.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := Check(o); err == nil || !strings.Contains(err.Error(), "another `muster up` runs on") {
		t.Errorf("beside a running stack: %v", err)
	}
}
