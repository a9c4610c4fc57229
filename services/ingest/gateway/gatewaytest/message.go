package gatewaytest

import (
	"encoding/binary"
	"time"

	"muster.dev/proto/batch"
)

// Message is one compact message, whose seq is counted up in place.
type Message struct {
	p   []byte
	seq uint64
}

// A Message has so many metrics at each of its steps; that of NewMessage has as many samples.
const (
	MetricsPerStep    = 5
	SamplesPerMessage = 11 * MetricsPerStep
)

// seqAt is where the eight bytes of its seq stand, behind their marker.
const seqAt, uint64Marker = 8, 0xcf

// NewMessage makes the message of the device of this number. Another process is another boot.
func NewMessage(number int) *Message { return NewMessageOf(number, SamplesPerMessage/MetricsPerStep) }

// NewMessageOf makes one of so many steps.
func NewMessageOf(number, steps int) *Message {
	now := time.Now()
	// Both are large enough to have a fixed width.
	boot, seq := uint32(now.UnixNano())|0x8000_0000, uint64(1)<<40+uint64(number)<<24
	b := batch.NewBuilder()
	b.SetKey(boot, seq)
	b.SetFirmware("1.2.3")
	for i := range int64(steps) {
		at := now.UnixMilli() - (int64(steps)-1-i)*1000
		b.SetScaled(at, "temp_c", 2150+i, 2)
		b.SetInt(at, "rssi_dbm", -70-i%3)
		b.SetInt(at, "heap_free", 100_000-i*17)
		b.SetBool(at, "charging", i%2 == 0)
		b.SetInt(at, "uptime_s", 1000+i)
	}
	if b.Len() != steps*MetricsPerStep {
		panic("not the samples that were meant")
	}
	p, err := b.AppendTo(nil)
	if err != nil {
		panic(err) // of the test's own making
	}
	if p[seqAt-1] != uint64Marker || binary.BigEndian.Uint64(p[seqAt:]) != seq {
		panic("the seq is not where it was")
	}
	return &Message{p: p, seq: seq}
}

// Next is the message under its next seq, valid until Next is called again.
func (m *Message) Next() []byte {
	m.seq++
	binary.BigEndian.PutUint64(m.p[seqAt:], m.seq)
	return m.p
}
