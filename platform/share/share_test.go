package share

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSlotsAreCountedPerKey(t *testing.T) {
	s := NewSlots[string](2)
	for i, want := range []bool{true, true, false} {
		if s.Take("a") != want {
			t.Fatalf("holder %d of two", i+1)
		}
	}
	if !s.Take("b") {
		t.Fatal("another key pays for it")
	}
	s.Give("a")
	if !s.Take("a") {
		t.Fatal("a given slot is free")
	}
	s.Give("a")
	s.Give("a")
	s.Give("b")
	if s.Keys() != 0 {
		t.Errorf("%d keys keep memory", s.Keys())
	}
}

func TestAnAddressIsAHostOrANetworkOfOne(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7:443": "192.0.2.7/32", "[::ffff:192.0.2.7]:443": "192.0.2.7/32",
		"[2001:db8:1:2:3::4]:443": "2001:db8:1:2::/64", "[fe80::1%eth0]:443": "fe80::/64",
		"@": "invalid Prefix", "192.0.2.7": "invalid Prefix",
	} {
		if got := Address(address).String(); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
