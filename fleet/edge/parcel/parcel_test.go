package parcel

import (
	"bytes"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAParcelComesBackAsItWas(t *testing.T) {
	for _, p := range []Parcel{
		{Device: "boiler-7", Stream: Telemetry, Form: Compact, At: 1795341850123, Body: []byte{0x98, 1}},
		{Device: "boiler-7", Stream: Events, Form: MsgPack, At: -1, Body: []byte("x")},
		{Stream: Events, Form: JSON, Body: []byte("{}")},
		{Stream: Telemetry, Form: JSON},
	} {
		got, err := Parse(p.Append(nil))
		if err != nil || got.Device != p.Device || got.Stream != p.Stream || got.Form != p.Form || got.At != p.At || !bytes.Equal(got.Body, p.Body) {
			t.Errorf("%+v came back as %+v (%v)", p, got, err)
		}
	}
}

// The bytes of version 1 stay readable: an edge is updated with a full ring.
func TestAParcelOfTheFirstVersionIsRead(t *testing.T) {
	p, err := Parse([]byte("\x01\x04\x00\x00\x01\xa2\x01\x5f\xd7\xcb\x08boiler-7{}"))
	if err != nil || p.Device != "boiler-7" || p.Form != JSON || p.Stream != Telemetry || string(p.Body) != "{}" || p.At != 0x1a2015fd7cb {
		t.Errorf("%+v %v", p, err)
	}
}

func TestWhatIsNoParcelIsRefused(t *testing.T) {
	good := (&Parcel{Device: "boiler-7", Form: JSON, Body: []byte("{}")}).Append(nil)
	for name, b := range map[string][]byte{
		"nothing":       nil,
		"another's":     append([]byte{2}, good[1:]...),
		"a short head":  good[:head-1],
		"a cut device":  good[:head+3],
		"an odd form":   append([]byte{1, 6}, good[2:]...),
		"an odd device": bytes.Replace(bytes.Clone(good), []byte("boiler"), []byte("BOILER"), 1),
	} {
		if p, err := Parse(b); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}
