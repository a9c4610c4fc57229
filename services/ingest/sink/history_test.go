package sink

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/batch"
	"muster.dev/proto/record"
)

// lagBound is the contract's: from the gateway's acceptance to what can be queried.
const lagBound = 7 * time.Second

// historian is a device that may send what was recorded long ago.
func historian(no uint32) record.Device { return record.Device{No: no, Profile: 1, History: true} }

// sharing are devices whose records are in the same partition of the log.
func sharing(with uint32, n int) []record.Device {
	part := eventlog.PartitionOf([]byte(name(with)), parts)
	var out []record.Device
	for no := uint32(1); len(out) < n; no++ {
		if no != with && eventlog.PartitionOf([]byte(name(no)), parts) == part {
			out = append(out, record.Device{No: no, Profile: uint16(no % 2)})
		}
	}
	return out
}

// long is a message of one step a day, or however far apart they are, back from now.
func (w *world) long(device record.Device, steps int, apart time.Duration) message {
	w.t.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	m := message{device: device, boot: w.boot, seq: w.seqs[device.No], at: now}
	w.seqs[device.No]++
	b := batch.NewBuilder()
	b.SetKey(m.boot, m.seq)
	for i := range steps {
		at := now.Add(-time.Duration(i)*apart - time.Duration(m.seq)*time.Second).UnixMilli()
		b.SetScaled(at, "temperature", int64(i), 1)
		b.SetInt(at, "uptime", int64(i))
		b.SetText(at, "mode", "idle")
		b.SetFloat(at, "load", float64(i)/7)
	}
	m.values = b.Len()
	var err error
	if m.value, err = b.AppendTo(nil); err != nil {
		w.t.Fatal(err)
	}
	return m
}

// give sends a message and remembers it.
func (w *world) give(m message) {
	w.t.Helper()
	w.sent = append(w.sent, m)
	w.produce(w.record(m, record.TopicTelemetry))
	w.records[record.TopicTelemetry]++
	w.want["stored"]++
}

// lagOf is the longest that messages of a device, or of all others, took.
func (w *world) lagOf(device uint32, others bool) time.Duration {
	op := "="
	if others {
		op = "!="
	}
	return time.Duration(w.count(fmt.Sprintf("SELECT toUInt64(max(toUnixTimestamp64Milli(stored_at) - toUnixTimestamp64Milli(got))) FROM DB.ledger WHERE device_no %s %d", op, device))) * time.Millisecond
}

func TestAMessageOfAThousandDaysStopsNobody(t *testing.T) {
	for _, c := range []struct {
		name     string
		messages int
		apart    time.Duration
	}{
		{"a thousand days", 1, 24 * time.Hour},
		{"five of a thousand days, one after another", 5, 24 * time.Hour},
		{"fifty years", 3, 18 * 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Each day is a part that the store syncs, so whoever else syncs on this disk has a share in the time: the least
			// of three runs is the sink's own.
			least := time.Duration(math.MaxInt64)
			for run := 0; run < 3 && least > lagBound; run++ {
				least = min(least, lagBeside(t, c.messages, c.apart))
			}
			if least > lagBound {
				t.Errorf("a message of another device was stored after %v, want %v", least, lagBound)
			}
		})
	}
}

// lagBeside is the longest that messages of others took while a device sent so many of a thousand steps each.
func lagBeside(t *testing.T, messages int, apart time.Duration) time.Duration {
	w := newWorld(t)
	w.defineProfile(1)
	w.cfg.Linger = DefaultConfig().Linger
	old := historian(77)
	others := sharing(old.No, 5)
	s := w.start(w.cfg)
	w.give(w.next(others[0], 0))
	w.stored(patience) // the sink has its partitions
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	left := messages
	for i, end := 0, time.Now().Add(6*time.Second); time.Now().Before(end); i++ {
		w.give(w.next(others[i%len(others)], 0))
		if i >= 20 && left > 0 {
			left--
			w.give(w.long(old, 1000, apart))
		}
		<-tick.C
	}
	w.stored(patience)
	s.stop()
	took := w.lagOf(old.No, true)
	t.Logf("others: at most %v; the device of the old readings: %v", took, w.lagOf(old.No, false))
	w.audit()
	return took
}

// Where a value goes is a function of its record: a replay, whenever it is, sends the same rows to the same tables.
func TestAReplayOfOldReadingsGoesToTheSameTables(t *testing.T) {
	for _, point := range []string{atInsertAcked, atLedgerSent} {
		t.Run(point, func(t *testing.T) {
			w := newWorld(t)
			w.defineProfile(1)
			m := w.long(historian(77), 1000, 24*time.Hour)
			w.give(m)
			again := w.record(m, record.TopicTelemetry)
			w.produce(&kgo.Record{Topic: again.Topic, Key: again.Key, Value: again.Value, Timestamp: again.Timestamp, Headers: again.Headers})
			w.records[record.TopicTelemetry]++
			w.want["duplicate"]++
			w.dieAt(point)
			s := w.finish()
			if n := s.metric("muster_sink_alarms_total"); n != 0 {
				t.Errorf("%v alarms", n)
			}
		})
	}
}
