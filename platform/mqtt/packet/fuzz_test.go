package packet

import (
	"bytes"
	"testing"
)

// FuzzAPacketIsReadOrRefused: whatever comes, from either side and in either version, is read or refused with a reason, and what was
// read can be written and read again as the same.
func FuzzAPacketIsReadOrRefused(f *testing.F) {
	for _, g := range golden {
		f.Add(byte(g.version), []byte(g.bytes))
	}
	for _, s := range []string{
		"\x82\x06\x00\x01\x00\x00\x01a",
		"\x82\x06\x00\x01\x00\x00\xff\x61", "\x82\x06\x00\x01\x00\xff\x61\x62", "\x10\xff\xff\xff\x7f", "\x30\x80\x80\x80\x80\x01",
		"\x30\x06\x00\x01t\x02\x7e\x01", "\x32\x05\x00\x01t\x00\x00", "\x40\x02\x00\x00", "\xf0\x00", "\x62\x02\x00\x01",
		"\x30\x08\x00\x01t\x80\x80\x80\x80\x00", "\x30\x06\x00\x00\x03\x23\x00\x02", "\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01d",
	} {
		f.Add(byte(V5), []byte(s))
		f.Add(byte(V311), []byte(s))
	}
	f.Fuzz(func(t *testing.T, level byte, b []byte) {
		v := V311
		if level&1 != 0 {
			v = V5
		}
		h, n, err := ParseHeader(b)
		if err != nil {
			reasoned(t, err)
			return
		}
		if n == 0 || h.Length > len(b)-n {
			return
		}
		written, err := again(t, h, b[n:n+h.Length], v)
		if err != nil {
			reasoned(t, err)
			return
		}
		if written == nil {
			return
		}
		h, n, err = ParseHeader(written)
		if err != nil || n+h.Length != len(written) {
			t.Fatalf("% x was written as % x, which has no header: %v", b, written, err)
		}
		twice, err := again(t, h, written[n:], v)
		if err != nil || !bytes.Equal(twice, written) {
			t.Fatalf("% x\nwas written as % x,\nand that as   % x: %v", b, written, twice, err)
		}
	})
}

func reasoned(t *testing.T, err error) {
	t.Helper()
	if e, ok := err.(*Error); !ok || !e.Reason.Failed() || e.Detail == "" || e.Reason.String() == "" {
		t.Fatalf("refused without a reason: %v", err)
	}
}

// again reads a body and writes what it read; nil where that is not one of ours to write.
func again(t *testing.T, h Header, body []byte, v Version) ([]byte, error) {
	switch h.Type {
	case CONNECT:
		var k Connect
		if err := k.Decode(body); err != nil {
			return nil, err
		}
		return k.Append(nil), nil
	case CONNACK:
		var k Connack
		if err := k.Decode(body, v); err != nil {
			return nil, err
		}
		return k.Append(nil, v), nil
	case PUBLISH:
		var k Publish
		if err := k.Decode(h, body, v); err != nil {
			return nil, err
		}
		k.UserProperty("x")
		return k.Append(nil, v), nil
	case PUBACK:
		var k Puback
		if err := k.Decode(body, v); err != nil {
			return nil, err
		}
		return k.Append(nil, v), nil
	case SUBSCRIBE, UNSUBSCRIBE:
		var k Subscribe
		if err := k.Decode(h, body, v); err != nil {
			return nil, err
		}
		answer := k.AppendRefusal(nil, v)
		if len(answer) > len(body)+8 {
			t.Fatalf("%d bytes are answered by %d", len(body), len(answer))
		}
		ah, n, err := ParseHeader(answer)
		if err != nil || n+ah.Length != len(answer) {
			t.Fatalf("answered by % x: %v", answer, err)
		}
		var s Suback
		if err := s.Decode(ah.Type, answer[n:], v); err != nil || s.ID != k.ID || ah.Type == SUBACK && len(s.Reasons) != k.Count {
			t.Fatalf("answered by % x: %v", answer, err)
		}
		return nil, nil
	case SUBACK, UNSUBACK:
		var k Suback
		return nil, k.Decode(h.Type, body, v)
	case DISCONNECT:
		var k Disconnect
		if err := k.Decode(body, v); err != nil {
			return nil, err
		}
		return k.Append(nil, v), nil
	case PINGREQ, PINGRESP:
		return nil, h.Empty()
	}
	return nil, nil
}
