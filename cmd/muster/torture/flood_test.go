//go:build linux

package torture

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/cmd/muster/stack"
	"muster.dev/fleet/simulator"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/principals"
	"muster.dev/platform/roster"
	"muster.dev/proto/batch"
	"muster.dev/proto/identity"
	"muster.dev/proto/record"
)

// A flood is more messages than a fleet over HTTPS could send here, or an oracle could remember: they are written into
// the log as a gateway writes them, and each is a function of its device and its place among the device's messages. So
// what must be stored of n messages is known without any of them.
type flood struct {
	*site
	sources []*source
	byName  map[string]*source
	epoch   time.Time // of the first reading
	rate    int       // messages a second, those that are sent again not counted
	total   int64

	producer *eventlog.Producer
	journal  *simulator.Journal
	path     string
	room     chan struct{} // one for each record that the log has not answered
	failed   atomic.Pointer[error]
	sent     atomic.Int64
	again    atomic.Int64
	done     chan struct{} // closed when everything is sent and answered
}

// source is one device of a flood.
type source struct {
	name  string
	key   []byte
	no    uint32
	stamp []byte
}

const (
	floodStep   = 40 * time.Millisecond // between two readings of a device
	floodBoot   = 4096                  // messages of one boot
	floodValues = 3                     // in a message
	floodRoom   = 15_000

	// Of ten messages one is sent again, soon after; of those one of fifty so late that no sink remembers it one by one.
	againOf, againSoon = 10, 30
	lateOf, late       = 50, 1200
)

// draw is a number that belongs to a message for ever (the finalizer of SplitMix64).
func (c *source) draw(n uint64) uint64 {
	x := uint64(c.no)<<40 + n + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// retry says after how many others message n is sent again; 0 is never.
func (c *source) retry(n uint64) uint64 {
	x := c.draw(n) >> 32
	switch {
	case x%againOf != 0:
		return 0
	case x/againOf%lateOf == 0:
		return late
	}
	return 1 + x/againOf%againSoon
}

// due are the messages that are sent again behind message n.
func (c *source) due(n uint64, send func(m uint64)) {
	for back := min(n, againSoon); back > 0; back-- {
		if c.retry(n-back) == back {
			send(n - back)
		}
	}
	if n >= late && c.retry(n-late) == late {
		send(n - late)
	}
}

func tick(x uint64) int64 { return int64(x % 1000) }

// key of message n.
func (c *source) message(n uint64) key {
	return key{c.name, uint32(1 + n/floodBoot), n % floodBoot}
}

// place is the way back.
func (k key) place() uint64 { return uint64(k.boot-1)*floodBoot + k.seq }

// body is message n as it is sent, every time it is.
func (f *flood) body(b *batch.Builder, c *source, n uint64) []byte {
	x, k, at := c.draw(n), c.message(n), f.at(n)
	b.Reset()
	b.SetKey(k.boot, k.seq)
	b.SetFirmware("tort-2")
	b.SetInt(at, "tick", tick(x))
	b.SetScaled(at, "temp_c", 150+int64(x>>10%100), 1)
	b.SetBool(at, "door_open", x>>20&1 == 1)
	body, err := b.AppendTo(nil)
	if err != nil {
		panic(err) // what we build is well formed, or nothing here means anything
	}
	return body
}

// at is when message n was measured, in Unix milliseconds.
func (f *flood) at(n uint64) int64 { return f.epoch.Add(time.Duration(n) * floodStep).UnixMilli() }

// of is how many messages a device sends.
func (f *flood) of(i int) uint64 {
	d := int64(len(f.sources))
	n := f.total / d
	if int64(i) < f.total%d {
		n++
	}
	return uint64(n)
}

// startFlood enrols n devices and begins to send.
func (s *site) startFlood(n, rate int, total int64) *flood {
	s.t.Helper()
	f := &flood{site: s, byName: map[string]*source{}, rate: rate, total: total, path: filepath.Join(s.t.TempDir(), "journal"), room: make(chan struct{}, floodRoom), done: make(chan struct{})}
	if step := time.Duration(n) * time.Second / time.Duration(rate); step < floodStep {
		s.t.Fatalf("%d devices at %d a second over all measure each %v and send each %v: readings would be of times to come", n, rate, floodStep, step)
	}
	for i := range n {
		name := fmt.Sprintf("flood-%03d", i)
		f.byName[name] = &source{name: name, key: []byte(name)}
	}
	names := slices.Sorted(maps.Keys(f.byName))
	if err := (stack.Site{Dir: s.dir, Ports: s.ports}).EnrollFleet(s.t.Context(), names, func(string) {}); err != nil {
		s.t.Fatal(err)
	}
	who, stop := s.people()
	defer stop()
	for _, name := range names {
		c := f.byName[name]
		f.sources = append(f.sources, c)
		var d roster.Device
		s.eventually(patience, "the registry's log has "+name, func(context.Context) error {
			var known bool
			if d, known = who.Device(identity.Device(name)); !known {
				return fmt.Errorf("%s is not known", name)
			}
			return nil
		})
		c.no, c.stamp = d.No, record.Device{No: d.No, Profile: d.Profile, Class: d.Class, History: d.History}.Append(nil)
	}
	cfg, err := s.logConfig()
	if err != nil {
		s.t.Fatal(err)
	}
	cfg.User = principals.Gateway
	if cfg.Secret, err = s.dir.Secret(stack.SecretKafkaGateway); err != nil {
		s.t.Fatal(err)
	}
	settings := eventlog.DefaultProducerSettings()
	settings.Linger = 50 * time.Millisecond // nobody waits for one message, and each batch is an fsync of the broker
	if f.producer, err = eventlog.NewProducer(cfg, settings, prometheus.NewRegistry()); err != nil {
		s.t.Fatal(err)
	}
	if f.journal, err = simulator.OpenJournal(f.path); err != nil {
		s.t.Fatal(err)
	}
	f.epoch = time.Now().Truncate(time.Millisecond)
	ctx, cancel := context.WithCancel(s.t.Context())
	go f.pour(ctx)
	s.t.Cleanup(func() { cancel(); <-f.done })
	return f
}

// pour sends every message, each device in turn, at the rate; what came too late is made up for.
func (f *flood) pour(ctx context.Context) {
	defer close(f.done)
	began := time.Now()
	var b batch.Builder
	for i := int64(0); i < f.total && ctx.Err() == nil && !f.broken(); i++ {
		if ahead := time.Until(began.Add(time.Duration(float64(i) / float64(f.rate) * float64(time.Second)))); ahead > 5*time.Millisecond {
			pause(ctx, ahead)
		}
		c, n := f.sources[i%int64(len(f.sources))], uint64(i/int64(len(f.sources)))
		f.put(&b, c, n, false)
		f.sent.Add(1)
		c.due(n, func(m uint64) {
			f.put(&b, c, m, true)
			f.again.Add(1)
		})
	}
	for range floodRoom {
		f.room <- struct{}{} // all of it is answered
	}
	f.producer.Close()
	if err := f.journal.Close(); err != nil {
		f.fail(err)
	}
}

func (f *flood) fail(err error) { f.failed.CompareAndSwap(nil, &err) }

func (f *flood) broken() bool { return f.failed.Load() != nil }

// put hands one record to the log, and to the journal once the log has it.
func (f *flood) put(b *batch.Builder, c *source, n uint64, again bool) {
	body := f.body(b, c, n)
	k := c.message(n)
	line := simulator.Line{Device: k.device, Boot: k.boot, Seq: k.seq, Hash: record.Hash(body), Values: floodValues, Duplicate: again, Attempts: 1}
	f.room <- struct{}{}
	f.producer.TryPublish(&kgo.Record{
		Topic: record.TopicTelemetry, Key: c.key, Value: body, Timestamp: time.UnixMilli(time.Now().UnixMilli()),
		Headers: []kgo.RecordHeader{{Key: record.HeaderDevice, Value: c.stamp}},
	}, func(_ *kgo.Record, err error) {
		if err != nil {
			f.fail(fmt.Errorf("the log did not take %v: %w", k, err))
		} else {
			line.At = time.Now().UnixMilli()
			f.journal.Append(line)
		}
		<-f.room
	})
}

// judgeFlood is judge for what nobody remembers message by message.
func (s *site) judgeFlood(f *flood) *verdict {
	s.t.Helper()
	<-f.done
	if err := f.failed.Load(); err != nil {
		s.t.Fatal(*err)
	}
	v := &verdict{Outcomes: map[string]int{}, Sent: int(f.sent.Load())}
	all, records := s.stretches(v)
	s.caughtUp(records)
	// In a partition a device's messages ascend, so the next number is all there is to know of those before.
	next := map[string]uint64{}
	var b batch.Builder
	s.walk(v, all, func(k key, hash uint32) string {
		c := f.byName[k.device]
		if c == nil || k.boot == 0 {
			v.find("%v is in the log and was never sent", k)
			return "stored"
		}
		n := k.place()
		if hash != record.Hash(f.body(&b, c, n)) {
			v.find("%v is in the log with bytes that were never sent", k)
		}
		if n < next[k.device] {
			return "duplicate"
		}
		if n > next[k.device] {
			v.find("MISSING: the log of %s jumps from message %d to %d", k.device, next[k.device], n)
		}
		next[k.device] = n + 1
		return "stored"
	}, func(entry) {})
	answered := map[string]uint64{}
	again := 0
	s.readJournal(f.path, func(l simulator.Line) {
		if l.Duplicate {
			again++
			return
		}
		v.Accepted++
		if n := (key{l.Device, l.Boot, l.Seq}).place(); n != answered[l.Device] {
			v.find("the log took message %d of %s after %d of them", n, l.Device, answered[l.Device])
		}
		answered[l.Device]++
	})
	want := map[string]sums{}
	wantAgain := 0
	for i, c := range f.sources {
		total := f.of(i)
		if answered[c.name] != total || next[c.name] != total {
			v.find("MISSING: of %s %d messages were sent, the log took %d and holds %d", c.name, total, answered[c.name], next[c.name])
		}
		w := sums{values: floodValues * total}
		for n := range total {
			w.tick += tick(c.draw(n))
			c.due(n, func(uint64) { wantAgain++ })
		}
		want[c.name] = w
	}
	if again != wantAgain || v.Outcomes["duplicate"] != wantAgain {
		v.find("%d messages were sent again, the log took %d of them, and the ledger tells %d apart", wantAgain, again, v.Outcomes["duplicate"])
	}
	s.holdMessages(v, f)
	s.holdSamples(v, want)
	s.audit(v)
	return v
}

// holdMessages compares the view of stored messages, boot for boot, with what must be there: every number once.
func (s *site) holdMessages(v *verdict, f *flood) {
	s.t.Helper()
	type boot struct {
		device string
		boot   uint32
	}
	type told struct{ rows, numbers, low, high, values uint64 }
	want := map[boot]told{}
	for i, c := range f.sources {
		for n, total := uint64(0), f.of(i); n < total; n += floodBoot {
			rows := min(floodBoot, total-n)
			want[boot{c.name, uint32(1 + n/floodBoot)}] = told{rows, rows, 0, rows - 1, floodValues * rows}
		}
	}
	rows, err := s.house.Conn().Query(s.t.Context(), "SELECT device, assumeNotNull(boot) AS b, count(), groupBitmap(assumeNotNull(seq)), min(assumeNotNull(seq)), max(assumeNotNull(seq)), sum(n) FROM muster.messages GROUP BY device, b")
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var of boot
		var got told
		if err := rows.Scan(&of.device, &of.boot, &got.rows, &got.numbers, &got.low, &got.high, &got.values); err != nil {
			s.t.Fatal(err)
		}
		switch w := want[of]; {
		case got == w:
		case got.rows > got.numbers:
			v.find("DOUBLE: messages of %s in boot %d: %+v, want %+v", of.device, of.boot, got, w)
		default:
			v.find("MISSING: messages of %s in boot %d: %+v, want %+v", of.device, of.boot, got, w)
		}
		delete(want, of)
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	for of, w := range want {
		v.find("MISSING: boot %d of %s has no messages, want %+v", of.boot, of.device, w)
	}
}
