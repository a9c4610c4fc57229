package session

import (
	"strings"
	"testing"
	"time"

	"muster.dev/platform/mqtt/packet"
)

func TestALimitThatCannotBeIsNamed(t *testing.T) {
	if err := DefaultLimits().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Limits){
		"connect":               func(l *Limits) { l.Connect = 0 },
		"body":                  func(l *Limits) { l.Body = -1 },
		"write":                 func(l *Limits) { l.Write = 0 },
		"farewell":              func(l *Limits) { l.Farewell = 0 },
		"silence":               func(l *Limits) { l.Silence = 0 },
		"between":               func(l *Limits) { l.KeepAliveMost = 5 * time.Second },
		"65535s":                func(l *Limits) { l.KeepAliveMost = 20 * time.Hour },
		"by default":            func(l *Limits) { l.KeepAliveDefault = time.Hour },
		"CONNECT of 10":         func(l *Limits) { l.ConnectBytes = 10 },
		"packet's 100":          func(l *Limits) { l.Packet = 100 },
		"the format ends":       func(l *Limits) { l.Packet = packet.MaxLength + 1 },
		"topics of 0":           func(l *Limits) { l.Topic = 0 },
		"receive maximum 0":     func(l *Limits) { l.ReceiveMaximum = 0 },
		"70000 MQTT topic":      func(l *Limits) { l.Aliases = 70_000 },
		"bring no message":      func(l *Limits) { l.Chatter = 0 },
		"keep alive at least":   func(l *Limits) { l.KeepAliveLeast = 0 },
		"keep alive at most":    func(l *Limits) { l.KeepAliveMost = 0 },
		"receive maximum 65536": func(l *Limits) { l.ReceiveMaximum = 65_536 },
	} {
		l := DefaultLimits()
		change(&l)
		if err := l.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The reasons that 5.0's tables 3-1 (CONNACK aside), 3-4 and 3-13 have for a server's packets.
func TestEveryReasonBecomesOneThatItsPacketMayHave(t *testing.T) {
	disconnect := "\x00\x80\x81\x82\x83\x87\x89\x8b\x8d\x8e\x8f\x90\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xa1\xa2"
	puback := "\x00\x10\x80\x83\x87\x90\x91\x97\x99"
	for r := range 256 {
		if got := farewell(packet.Reason(r)); !strings.Contains(disconnect, string([]byte{byte(got)})) || !got.Failed() {
			t.Errorf("0x%02x ends a connection as 0x%02x", r, byte(got))
		}
		if got := refusal(packet.Reason(r)); !strings.Contains(puback, string([]byte{byte(got)})) || !got.Failed() {
			t.Errorf("0x%02x refuses a message as 0x%02x", r, byte(got))
		}
	}
}

func TestBlocksAreAsLargeAsTheyHaveToBe(t *testing.T) {
	for _, n := range []int{0, 1, 512, 513, 4096, 40_000, 256 << 10, 300_000} {
		b := newBlock(n)
		if len(b.b) < n {
			t.Errorf("%d bytes for %d", len(b.b), n)
		}
		bigger := b.grown(min(n, 10), n+1)
		if len(bigger.b) < n+1 {
			t.Errorf("%d bytes for %d", len(bigger.b), n+1)
		}
		bigger.free()
	}
}
