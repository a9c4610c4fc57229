package follow

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"

	"muster.dev/platform/snapshot"
	"muster.dev/proto/record"
)

const minuteMS = 60_000

// taken is a snapshot at a minute, which had read ten records of a partition each minute.
func taken(minute int64) Taken {
	return Taken{
		Epoch: "d/1", N: uint64(minute), Own: uint64(minute), Clock: minute * minuteMS,
		Next: []Position{{Place{record.TopicTelemetry, 3}, 10 * minute}, {Place{record.TopicEvents, 3}, minute}, {registryLog, 1_000}},
		Ref:  snapshot.Ref{No: uint64(minute), Chunks: 1, Sum: make([]byte, 32)},
	}
}

func TestAnIncidentIsReplayedFromTheNewestSnapshotBeforeItsEvidence(t *testing.T) {
	var h Head
	for _, minute := range []int64{10, 20, 30, 40} {
		h.Snapshots = append(h.Snapshots, taken(minute))
	}
	for name, c := range map[string]struct {
		evidence []Position
		since    int64
		want     uint64 // its minute; 0: none
	}{
		"by offset":                    {[]Position{{Place{record.TopicTelemetry, 3}, 300}}, 0, 30},
		"one record earlier":           {[]Position{{Place{record.TopicTelemetry, 3}, 299}}, 100 * minuteMS, 20},
		"by both topics":               {[]Position{{Place{record.TopicTelemetry, 3}, 300}, {Place{record.TopicEvents, 3}, 15}}, 0, 10},
		"of another partition by time": {[]Position{{Place{record.TopicTelemetry, 4}, 1}}, 25 * minuteMS, 20},
		"the registry's says nothing":  {[]Position{{registryLog, 5}}, 45 * minuteMS, 40},
		"too long ago":                 {nil, 9 * minuteMS, 0},
	} {
		got, ok := h.Before(c.evidence, c.since)
		if ok != (c.want != 0) || got.Ref.No != c.want {
			t.Errorf("%s: %d, %v, want %d", name, got.Ref.No, ok, c.want)
		}
	}
}

func TestOldSnapshotsAreFewAndReachFarBack(t *testing.T) {
	var h Head
	var p pins
	p.last = []pinned{{id: "i", since: 77 * minuteMS}}
	dropped := map[uint64]bool{}
	const minutes = 7 * 24 * 60
	for minute := int64(10); minute <= minutes; minute += 10 {
		h.Snapshots = append(h.Snapshots, taken(minute))
		var gone []snapshot.Ref
		h, gone = h.thin(p.needs(h))
		for _, ref := range gone {
			if dropped[ref.No] {
				t.Fatalf("%d is dropped twice", ref.No)
			}
			dropped[ref.No] = true
		}
		// Whatever began up to a day ago can be replayed, from not much farther back.
		for age := int64(20); age < min(minute-20, 24*60); age += 10 {
			from, ok := h.Before(nil, (minute-age)*minuteMS)
			if !ok || minute-int64(from.Ref.No) > 4*age {
				t.Fatalf("at minute %d what began %d minutes ago would be replayed from %d, %v", minute, age, from.Ref.No, ok)
			}
		}
	}
	if n := len(h.Snapshots); n > 20 {
		t.Errorf("%d are kept", n)
	}
	if !slices.ContainsFunc(h.Snapshots, func(t Taken) bool { return t.Ref.No == 70 }) {
		t.Error("the one that an incident needs is gone")
	}
	for _, s := range h.Snapshots {
		if dropped[s.Ref.No] {
			t.Errorf("%d is kept and dropped", s.Ref.No)
		}
	}
}

func TestAHeadComesBackAndWhatCannotBeIsRefused(t *testing.T) {
	h := Head{}.with(Epoch{Detector: "d", First: 1, After: wholeStart, From: []Position{{Place{record.TopicEvents, 2}, 7}}})
	h.Snapshots = []Taken{taken(5)}
	p, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeHead(p); err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("%+v, %v", got, err)
	}
	for range 100 {
		h = h.with(Epoch{Detector: "d"})
	}
	if len(h.Epochs) != maxEpochs {
		t.Errorf("%d epochs are kept", len(h.Epochs))
	}
	for name, text := range map[string]string{
		"no JSON": "x", "a sum of another length": `{"snapshots":[{"n":1,"own":1,"ref":{"Chunks":1,"Sum":"AAAA"}}]}`,
		"too long": `{"detector":"` + string(bytes.Repeat([]byte("a"), maxHead)) + `"}`,
	} {
		if _, err := DecodeHead([]byte(text)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzDecodeHead(f *testing.F) {
	p, err := Head{Epochs: []Epoch{{Detector: "d", First: 1}}, Snapshots: []Taken{taken(5)}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	f.Add([]byte(`{"epochs":[{"after":-9223372036854775808}]}`))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, err := DecodeHead(p)
		if err != nil {
			return
		}
		again, err := h.encode()
		if err != nil {
			return // it grows where text is escaped
		}
		if back, err := DecodeHead(again); err != nil || fmt.Sprint(back) != fmt.Sprint(h) {
			t.Fatalf("%+v came back as %+v, %v", h, back, err)
		}
	})
}

func TestAStateIsHeldInPieces(t *testing.T) {
	var p pieces
	var want []byte
	for i := range 5 {
		b := bytes.Repeat([]byte{byte(i)}, i*piece/2+i)
		want = append(want, b...)
		if n, err := p.Write(b); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(p.to(w)) }()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d came back, %v", len(got), len(want), err)
	}
}

func TestWhatCannotBeSetIsRefused(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	for key, spoil := range map[string]func(*Config){
		"group":            func(c *Config) { c.Group = "" },
		"session_timeout":  func(c *Config) { c.SessionTimeout = 0 },
		"back":             func(c *Config) { c.Back = -1 },
		"snapshot_every":   func(c *Config) { c.SnapshotEvery = 0 },
		"snapshot_records": func(c *Config) { c.SnapshotRecords = 0 },
		"snapshot_pause":   func(c *Config) { c.SnapshotPause = -1 },
		"epoch":            func(c *Config) { c.Epoch = string(make([]byte, 65)) },
		"crash_at":         func(c *Config) { c.CrashAt = "nowhere" },
	} {
		c := DefaultConfig()
		spoil(&c)
		if err := c.Validate(); err == nil || !bytes.HasPrefix([]byte(err.Error()), []byte(key)) {
			t.Errorf("%s: %v", key, err)
		}
	}
	for _, text := range []string{"written:0", "written:x", "written:"} {
		if _, err := parseCrash(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
