package record_test

import (
	"encoding/hex"
	"math"
	"testing"
	"testing/quick"

	"muster.dev/proto/record"
)

func TestTheStampOfADeviceComesBack(t *testing.T) {
	same := func(no uint32, profile uint16, class uint8, history bool) bool {
		d := record.Device{No: no, Profile: profile, Class: class & 3, History: history}
		got, err := record.ParseDevice(d.Append(nil))
		return err == nil && got == d
	}
	if err := quick.Check(same, nil); err != nil {
		t.Fatal(err)
	}
}

func TestTheStampsBytesAreFrozen(t *testing.T) {
	d := record.Device{No: 0x01020304, Profile: 0x0506, Class: 2, History: true}
	if got := hex.EncodeToString(d.Append(nil)); got != "0102030405060201" {
		t.Fatalf("stamp is %s", got)
	}
}

func TestAStampOfALaterVersionIsRead(t *testing.T) {
	got, err := record.ParseDevice([]byte{0, 0, 0, 9, 0, 1, 0, 0xfe, 1, 2, 3})
	if err != nil || got != (record.Device{No: 9, Profile: 1}) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestABadStampIsRefused(t *testing.T) {
	for _, b := range [][]byte{nil, make([]byte, 7), {0, 0, 0, 1, 0, 0, 4, 0}} {
		if _, err := record.ParseDevice(b); err == nil {
			t.Errorf("% x was read", b)
		}
	}
}

func TestTheHashIsCRC32C(t *testing.T) {
	if got := record.Hash([]byte("123456789")); got != 0xe3069283 { // the check value of the catalogue of CRCs
		t.Fatalf("%#x", got)
	}
}

func TestUnkeyedIsNoSequenceNumber(t *testing.T) {
	if record.Unkeyed != math.MaxUint64 || !record.IsControl(record.TypeWatermark) || record.IsControl("") {
		t.Fatal("constants moved")
	}
}

func TestTheSenderForAnotherComesBack(t *testing.T) {
	if got := hex.EncodeToString(record.AppendVia(nil, 0x01020304)); got != "01020304" {
		t.Errorf("written as %s", got)
	}
	if no, err := record.ParseVia([]byte{0, 0, 1, 0, 9}); err != nil || no != 256 {
		t.Errorf("%d, %v", no, err)
	}
	if no, err := record.ParseVia([]byte{0, 0, 1}); err == nil {
		t.Errorf("3 bytes are %d", no)
	}
}
