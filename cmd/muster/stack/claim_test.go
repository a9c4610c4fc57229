package stack

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever asks whether a stack runs, or whether a part is held, has the lock for that moment; `up` and a hold wait for it.
func TestALookIsNoClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDir(t)
		look := func(path string) {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if claimed(f) {
				t.Fatal("nobody has claimed it")
			}
			go func() { <-time.After(10 * time.Millisecond); f.Close() }()
		}
		look(d.holdFile(Sink))
		release, err := d.Hold(t.Context(), Sink)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		look(d.in("run", "lock"))
		unlock, err := d.lock()
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		if _, err := d.Hold(t.Context(), Sink); !errors.Is(err, syscall.EWOULDBLOCK) || !d.held(Sink) {
			t.Errorf("held twice: %v", err)
		}
	})
}
