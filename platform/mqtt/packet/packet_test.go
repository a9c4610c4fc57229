package packet

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestAVariableByteIntegerIsAsTheTextsHaveIt(t *testing.T) {
	for v, want := range map[int]string{ // 5.0, table 1-1
		0: "00", 127: "7f", 128: "80 01", 16_383: "ff 7f", 16_384: "80 80 01", 2_097_151: "ff ff 7f", 2_097_152: "80 80 80 01", MaxLength: "ff ff ff 7f",
	} {
		b := appendVarint(nil, v)
		got, n, err := varint(b)
		if !bytes.Equal(b, unhex(want)) || got != v || n != len(b) || err != nil || varintLen(v) != n {
			t.Errorf("%d is % x, read as %d (%d bytes): %v", v, b, got, n, err)
		}
		for i := range b {
			if _, n, err := varint(b[:i]); n != 0 || err != nil {
				t.Errorf("%d bytes of % x: %d, %v", i, b, n, err)
			}
		}
	}
	for _, bad := range []string{"80 00", "80 80 80 00", "80 80 80 80", "ff ff ff ff 01"} {
		if _, n, err := varint(unhex(bad)); err == nil {
			t.Errorf("%s is taken, as of %d bytes", bad, n)
		}
	}
}

func TestAHeaderIsCheckedAtItsFirstByte(t *testing.T) {
	for b := range 256 {
		typ, flags := Type(b>>4), byte(b&15)
		ok := flags == 0
		switch typ {
		case 0:
			ok = false
		case PUBLISH:
			qos := flags >> 1 & 3
			ok = qos != 3 && (qos > 0 || flags&8 == 0)
		case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
			ok = flags == 2
		}
		if _, _, err := ParseHeader([]byte{byte(b)}); (err == nil) != ok {
			t.Errorf("%02x: %v", b, err)
		}
	}
}

func TestStringsAreUTF8AsTheFormatHasIt(t *testing.T) {
	for s, ok := range map[string]bool{
		"": true, "a": true, "é漢🙂": true, "\ufeff": true, "\x01": true, "\uffff": true,
		"\x00": false, "a\x00b": false, "\xff": false, "\xc0\x80": false, "\xed\xa0\x80": false, "\xed\xbf\xbf": false, "\xf4\x90\x80\x80": false, "\xc3": false,
	} {
		c := cursor{b: appendText(nil, s), t: PUBLISH}
		got := c.text("topic")
		if (c.err == nil) != ok || ok && string(got) != s {
			t.Errorf("%q: %v", s, c.err)
		}
	}
	for s, ok := range map[string]bool{"a b": true, "é": true, "a\n": false, "\x7f": false, "\u0085": false, "\u00a0": true} {
		if plain([]byte(s)) != ok {
			t.Errorf("%q is plain: %v", s, !ok)
		}
	}
}

func TestGoldenBytesStayWhatTheyAre(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			b := []byte(g.bytes)
			h, n, err := ParseHeader(b)
			if err != nil || n+h.Length != len(b) {
				t.Fatal(h, n, err)
			}
			got := reflect.New(reflect.TypeOf(g.packet))
			switch k := got.Interface().(type) {
			case *Connect:
				err = k.Decode(b[n:])
				if k.Will != nil {
					w := k.will
					k.Will, k.will = &w, Will{}
				}
			case *Connack:
				err = k.Decode(b[n:], g.version)
			case *Publish:
				err = k.Decode(h, b[n:], g.version)
				k.props = nil
			case *Puback:
				err = k.Decode(b[n:], g.version)
			case *Disconnect:
				err = k.Decode(b[n:], g.version)
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Elem().Interface(), g.packet) {
				t.Errorf("read as\n%+v, and should be\n%+v", got.Elem().Interface(), g.packet)
			}
			if g.oneWay {
				return
			}
			var written []byte
			switch k := g.packet.(type) {
			case Connect:
				written = k.Append(nil)
			case Connack:
				written = k.Append(nil, g.version)
			case Publish:
				written = k.Append(nil, g.version, g.user...)
			case Puback:
				written = k.Append(nil, g.version)
			case Disconnect:
				written = k.Append(nil, g.version)
			}
			if !bytes.Equal(written, b) {
				t.Errorf("written as\n% x, and should be\n% x", written, b)
			}
		})
	}
}

func TestNoPacketCutShortIsTaken(t *testing.T) {
	for _, g := range golden {
		h, n, _ := ParseHeader([]byte(g.bytes))
		body := []byte(g.bytes)[n:]
		whole := map[int]bool{} // where a shorter packet is a packet too
		switch g.packet.(type) {
		case Publish: // its payload may be of any length
			payload := len(g.packet.(Publish).Payload)
			for i := range payload {
				whole[len(body)-1-i] = true
			}
		case Puback: // reason and properties may be left out
			whole[2], whole[3] = true, true
		case Disconnect:
			whole[0], whole[1] = true, true
		}
		for i := range body {
			h.Length = i
			if _, err := again(t, h, body[:i], g.version); (err == nil) != whole[i] {
				t.Errorf("%s: %d bytes of %d: %v", g.name, i, len(body), err)
			}
		}
	}
}

func TestReasonsAreNamed(t *testing.T) {
	seen := map[string]Reason{}
	for r := range reasonNames {
		if other, twice := seen[r.String()]; twice {
			t.Errorf("%02x and %02x are both %q", byte(r), byte(other), r)
		}
		seen[r.String()] = r
		if code := r.ReturnCode(); r.Failed() != (code != 0) || code > 5 {
			t.Errorf("%v is the return code %d", r, code)
		}
	}
	if Reason(0xff).String() != "reason 0xFF" || Version(3).String() != "level 3" {
		t.Error("what has no name is not told by its number")
	}
}

func TestReadingAndWritingAllocateNothing(t *testing.T) {
	m := Publish{QoS: 1, ID: 7, Topic: []byte("telemetry"), ContentType: []byte("application/json"), Alias: 3, Payload: make([]byte, 500)}
	buf := make([]byte, 0, 4096)
	body := m.Append(nil, V5, Property{"muster-backlog", "1"})
	h, n, _ := ParseHeader(body)
	sub := AppendSubscribe(nil, SUBSCRIBE, V5, 1, "a", "b")
	for name, f := range map[string]func(){
		"PUBLISH": func() {
			var k Publish
			if k.Decode(h, body[n:], V5) != nil {
				t.Fatal("refused")
			}
			if v, ok := k.UserProperty("muster-backlog"); !ok || string(v) != "1" {
				t.Fatal("no property")
			}
		},
		"writing PUBLISH": func() { m.Append(buf, V5) },
		"writing PUBACK":  func() { (&Puback{ID: 9, Reason: QuotaExceeded, Text: "later"}).Append(buf, V5) },
		"SUBSCRIBE": func() {
			var s Subscribe
			if s.Decode(Header{Type: SUBSCRIBE, Flags: 2, Length: len(sub) - 2}, sub[2:], V5) != nil {
				t.Fatal("refused")
			}
			s.AppendRefusal(buf, V5)
		},
	} {
		if n := testing.AllocsPerRun(100, f); n > 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	m := Publish{QoS: 1, ID: 7, Topic: []byte("telemetry"), ContentType: []byte("application/json"), Payload: make([]byte, 500)}
	body := m.Append(nil, V5)
	h, n, _ := ParseHeader(body)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var k Publish
		if k.Decode(h, body[n:], V5) != nil || k.ID != 7 {
			b.Fatal("refused")
		}
	}
}
