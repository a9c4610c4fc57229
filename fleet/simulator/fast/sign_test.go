package fast

import (
	"testing"
	"time"
)

func TestADeviceAndItsCloneAreASignOnceAMinute(t *testing.T) {
	var w turns
	var told []time.Duration
	for s := range 600 { // the device at each full half minute, its clone ten seconds later
		at := time.Duration(s) * time.Second
		for _, m := range []struct {
			clone bool
			phase int
		}{{false, 0}, {true, 10}} {
			if s%30 == m.phase && w.came(m.clone, 1+at.Milliseconds()) {
				told = append(told, at)
			}
		}
	}
	if len(told) < 8 || len(told) > 10 || told[0] != 40*time.Second {
		t.Errorf("told at %v: want at most once a minute, first with the second return", told)
	}
}

func TestADeviceAloneIsNoSign(t *testing.T) {
	var w turns
	for s := int64(1); s < 1_000_000; s += 1_000 {
		if w.came(false, s) {
			t.Fatal("it never was elsewhere")
		}
	}
}
