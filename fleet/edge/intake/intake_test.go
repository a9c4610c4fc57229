package intake

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"muster.dev/fleet/edge/parcel"
	"muster.dev/fleet/edge/rule"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is an intake, what it kept and what it answered.
type desk struct {
	*Intake
	t *testing.T

	mu       sync.Mutex
	kept     []parcel.Parcel
	full     error
	verdicts []Verdict
	refused  map[identity.Device]string
	dropped  int
}

// open is called in a bubble: its clock is the tests'.
func open(t *testing.T, change func(*Config)) *desk {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, refused: map[identity.Device]string{}}
	d.Intake = New(cfg, Settings{
		Keep: func(value []byte) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.full != nil {
				return d.full
			}
			p, err := parcel.Parse(value)
			if err != nil {
				t.Error(err)
			}
			d.kept = append(d.kept, p)
			return nil
		},
		Refused:  func(id identity.Device) string { return d.refused[id] },
		Boot:     7,
		First:    100,
		Now:      time.Now,
		Answered: func(parcel.Stream, Outcome) {},
		Dropped:  func(n int) { d.dropped += n },
	})
	t.Cleanup(d.Close)
	return d
}

func (d *desk) say(device string, s parcel.Stream, body string) {
	d.Take(Message{Device: identity.Device(device), Stream: s, Body: []byte(body)}, func(v Verdict) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.verdicts = append(d.verdicts, v)
	})
}

func (d *desk) one(device string, s parcel.Stream, body string) Verdict {
	d.t.Helper()
	before := len(d.verdicts)
	d.say(device, s, body)
	time.Sleep(time.Second) // of the bubble
	synctest.Wait()
	if len(d.verdicts) != before+1 {
		d.t.Fatalf("%s: %d answers", body, len(d.verdicts)-before)
	}
	return d.verdicts[before]
}

func (d *desk) batch(i int) batch.Batch {
	d.t.Helper()
	var b batch.Batch
	if err := b.Decode(d.kept[i].Body); err != nil {
		d.t.Fatal(err)
	}
	return b
}

func TestACountedMessagePassesAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, func(c *Config) { c.Rules = []rule.Config{{Drop: true}} })
		b := batch.NewBuilder()
		b.SetKey(3, 4)
		b.SetInt(1, "x", 1)
		compact, err := b.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range []struct {
			stream parcel.Stream
			form   parcel.Form
			body   string
		}{
			{parcel.Telemetry, parcel.JSON, ` {"boot":3,"seq":17,"readings":[{"ts":1795341850123,"metrics":{"temp_c":21.5}}]}`},
			{parcel.Telemetry, parcel.Compact, string(compact)},
			{parcel.Telemetry, parcel.MsgPack, "\x83\xa4boot\x03\xa3seq\x04\xa8readings\x91\x82\xa2ts\x01\xa7metrics\x81\xa1x\x01"},
			{parcel.Events, parcel.JSON, `{"boot":3,"seq":1,"events":[{"ts":1795341850123,"type":"boot"}]}`},
		} {
			if v := d.one("boiler-7", m.stream, m.body); v.Outcome != Stored {
				t.Fatalf("%q: %+v", m.body, v)
			}
			if p := d.kept[i]; p.Device != "boiler-7" || p.Stream != m.stream || p.Form != m.form || string(p.Body) != m.body {
				t.Errorf("kept %+v", p)
			}
		}
	})
}

func TestReadingsOfAWindowBecomeOneCountedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, nil)
		for i := range 5 {
			d.say("boiler-7", parcel.Telemetry, fmt.Sprintf(`{"readings":[{"ts":%d,"metrics":{"temp_c":21.%d,"on":true,"state":"run"}}]}`, 1000+i, i))
			d.say("boiler-8", parcel.Telemetry, fmt.Sprintf(`{"readings":[{"ts":%d,"metrics":{"temp_c":%d}}]}`, 1000+i, i))
		}
		synctest.Wait()
		d.mu.Lock()
		kept, answered := len(d.kept), len(d.verdicts)
		d.mu.Unlock()
		if kept+answered != 0 {
			t.Fatalf("%d kept, %d answered before the window has ended", kept, answered)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(d.kept) != 2 || len(d.verdicts) != 10 {
			t.Fatalf("%d kept, %d answered", len(d.kept), len(d.verdicts))
		}
		if v := d.one("boiler-7", parcel.Telemetry, `{"readings":[{"ts":2000,"metrics":{"temp_c":1.25}}]}`); v.Outcome != Stored {
			t.Fatal(v)
		}
		seqs := map[identity.Device][]uint64{}
		for i := range d.kept {
			b := d.batch(i)
			if !b.Keyed || b.Boot != 7 {
				t.Errorf("kept without the edge's key: %+v", b)
			}
			seqs[d.kept[i].Device] = append(seqs[d.kept[i].Device], b.Seq)
			if d.kept[i].Device == "boiler-7" && len(seqs["boiler-7"]) == 1 {
				if b.Values != 15 || len(b.Times) != 5 || string(b.AppendValue(nil, 2, 4)) != "21.4" || string(b.AppendValue(nil, 1, 4)) != "run" {
					t.Errorf("%d values of %d times: %s %s", b.Values, len(b.Times), b.AppendValue(nil, 2, 4), b.AppendValue(nil, 1, 4))
				}
			}
		}
		if fmt.Sprint(seqs) != "map[boiler-7:[100 101] boiler-8:[100]]" {
			t.Errorf("counted %v", seqs)
		}
	})
}

// What one column cannot hold is not joined: it would change what a device said.
func TestWhatDoesNotFitOpensAWindowOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, two := range map[string][2]string{
			"the same time":   {`{"readings":[{"ts":1,"metrics":{"x":1}}]}`, `{"readings":[{"ts":1,"metrics":{"x":2}}]}`},
			"another kind":    {`{"readings":[{"ts":1,"metrics":{"x":1}}]}`, `{"readings":[{"ts":2,"metrics":{"x":"a"}}]}`},
			"a float":         {`{"readings":[{"ts":1,"metrics":{"x":1}}]}`, `{"readings":[{"ts":2,"metrics":{"x":1e-300}}]}`},
			"a scale":         {`{"readings":[{"ts":1,"metrics":{"x":9223372036854775807}}]}`, `{"readings":[{"ts":2,"metrics":{"x":0.5}}]}`},
			"other firmware":  {`{"fw":"1","readings":[{"ts":1,"metrics":{"x":1}}]}`, `{"fw":"2","readings":[{"ts":2,"metrics":{"x":1}}]}`},
			"a value at odds": {`{"readings":[{"ts":1,"metrics":{"x":1}}]}`, `{"readings":[{"ts":2,"metrics":{"x":1e400}}]}`},
		} {
			d := open(t, nil)
			d.say("boiler-7", parcel.Telemetry, two[0])
			d.say("boiler-7", parcel.Telemetry, two[1])
			time.Sleep(time.Second)
			synctest.Wait()
			if len(d.kept) != 2 || len(d.verdicts) != 2 || d.verdicts[0].Outcome != Stored || d.verdicts[1].Outcome != Stored {
				t.Fatalf("%s: %d kept, answers %+v", name, len(d.kept), d.verdicts)
			}
			if a, b := d.batch(0), d.batch(1); !a.Keyed || !b.Keyed || a.Seq == b.Seq {
				t.Errorf("%s: counted %d and %d", name, a.Seq, b.Seq)
			}
		}
	})
}

func TestWhatSmallDevicesSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, nil)
		now := time.Now().UnixMilli()
		for i, c := range []struct {
			body string
			at   int64
		}{{`{"temp_c":21.5,"on":true}`, now}, {`{"ts":1795341850123,"values":{"temp_c":21.5,"on":true}}`, 1795341850123}} {
			if v := d.one("boiler-7", parcel.Telemetry, c.body); v.Outcome != Stored {
				t.Fatalf("%s: %+v", c.body, v)
			}
			b := d.batch(i)
			if b.Values != 2 || b.Times[0] != c.at && c.at != now || c.at == now && b.Times[0] < now {
				t.Errorf("%s: %d values at %v", c.body, b.Values, b.Times)
			}
		}
		if v := d.one("boiler-7", parcel.Events, `{"events":[{"ts":5,"type":"boot"}]}`); v.Outcome != Stored {
			t.Fatal(v)
		}
		m, err := event.DecodeMessage(d.kept[2].Body)
		if err != nil || !m.Keyed || m.Boot != 7 || m.Seq != 100 {
			t.Errorf("%+v %v", m, err)
		}
	})
}

func TestWhatCannotBeStoredIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, func(c *Config) {
			c.Body, c.Rules = 1<<10, []rule.Config{{Metric: "a", Rename: "b"}, {Metric: "noise", Drop: true}}
		})
		d.refused["stranger"] = "the edge may not speak for it"
		for body, want := range map[string]Outcome{
			"":     Malformed,
			"\xc0": Malformed,
			"{":    Malformed,
			`{"readings":[{"ts":1,"metrics":{"x":1}}]} `: Stored,
			`{"readings":[]}`:       Unprocessable,
			`{"Temp C":1}`:          Unprocessable,
			`{"boot":1,"temp_c":1}`: Unprocessable,
			`{"a":1,"b":2}`:         Unprocessable,
			`{"temp_c":{"deep":1}}`: Unprocessable,
			"\x98\x01":              Malformed,
			`{"x":"` + strings.Repeat("y", 2<<10) + `"}`:                                TooLarge,
			`{"device":"kiln-1","readings":[{"ts":1,"metrics":{"x":1}}]}`:               Unprocessable,
			`{"devic\u0065":"kiln-1","readings":[{"ts":1,"metrics":{"x":1}}]}`:          Unprocessable,
			`{"device":7,"readings":[{"ts":1,"metrics":{"x":1}}]}`:                      Unprocessable,
			`{"device":"boiler-7","readings":[{"ts":2,"metrics":{"x":1}}]}`:             Stored,
			"\x82\xa8readings\x91\x82\xa2ts\x01\xa7metrics\x81\xa1x\x01\xa6device\xa1x": Unprocessable,
			`{"noise":1}`: Stored,
		} {
			if v := d.one("boiler-7", parcel.Telemetry, body); v.Outcome != want || (v.Text == "") != (want == Stored) {
				t.Errorf("%.60q: %+v, want %v", body, v, want)
			}
		}
		if d.dropped != 1 || len(d.kept) != 2 {
			t.Errorf("%d readings dropped, %d messages kept", d.dropped, len(d.kept))
		}
		if v := d.one("stranger", parcel.Telemetry, `{"x":1}`); v.Outcome != NotAllowed {
			t.Error(v)
		}
		for _, body := range []string{"\x91", `{"events":[]}`} {
			if v := d.one("boiler-7", parcel.Events, body); v.Outcome == Stored {
				t.Errorf("%q: %+v", body, v)
			}
		}
	})
}

func TestAFullDiskIsToldAndNothingIsCountedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, nil)
		d.full = errors.New("no space left")
		if v := d.one("boiler-7", parcel.Telemetry, `{"x":1}`); v.Outcome != DiskFull || !strings.Contains(v.Text, "no space") {
			t.Error(v)
		}
		d.full = ErrTooLarge
		if v := d.one("boiler-7", parcel.Telemetry, `{"x":1}`); v.Outcome != Unkept {
			t.Error(v)
		}
		d.full = nil
		if v := d.one("boiler-7", parcel.Telemetry, `{"x":1}`); v.Outcome != Stored {
			t.Error(v)
		}
		// A disk that failed may still have written it: its number is not given to another message.
		if b := d.batch(0); b.Seq != 102 {
			t.Errorf("seq %d", b.Seq)
		}
	})
}

func TestADeviceIsHeldToItsRateAndTheEdgeToItsDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, func(c *Config) { c.Messages, c.Burst, c.Devices = 1, 3, 2 })
		for i := range 5 {
			d.say("boiler-7", parcel.Telemetry, fmt.Sprintf(`{"ts":%d,"values":{"x":1}}`, i))
		}
		d.say("boiler-8", parcel.Telemetry, `{"x":1}`)
		d.say("boiler-9", parcel.Telemetry, `{"x":1}`)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		counts := map[Outcome]int{}
		for _, v := range d.verdicts {
			counts[v.Outcome]++
		}
		if counts[Stored] != 4 || counts[TooMuch] != 3 {
			t.Errorf("answers %v", counts)
		}
		if v := d.one("boiler-7", parcel.Telemetry, `{"x":1}`); v.Outcome != Stored {
			t.Errorf("two seconds later: %+v", v)
		}
	})
}

func TestWhatWaitsForTheDiskIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, func(c *Config) { c.Body, c.Queue, c.Burst = 1<<10, 2<<10, 100 })
		d.mu.Lock() // the disk hangs
		var mu sync.Mutex
		counts := map[Outcome]int{}
		for i := range 10 {
			d.Take(Message{Device: "boiler-7", Body: fmt.Appendf(nil, `{"boot":1,"seq":%d,"readings":[{"ts":1,"metrics":{"x":"%s"}}]}`, i, strings.Repeat("y", 600))}, func(v Verdict) {
				mu.Lock()
				defer mu.Unlock()
				counts[v.Outcome]++
			})
		}
		d.mu.Unlock()
		synctest.Wait()
		if counts[Stored] != 3 || counts[TooMuch] != 7 {
			t.Errorf("answers %v", counts)
		}
	})
}

// A reading of a byte or two takes a hundred times that while it is gathered.
func TestWhatIsGatheredIsBoundedByWhatItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, func(c *Config) { c.Window, c.Queue = time.Minute, 1<<20 })
		b := batch.NewBuilder()
		for i := range 900 {
			b.SetInt(int64(i), "x", 1)
			b.SetInt(int64(i), "y", 1)
		}
		body, err := b.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			d.say(fmt.Sprintf("boiler-%d", i), parcel.Telemetry, string(body))
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		counts := map[Outcome]int{}
		for _, v := range d.verdicts {
			counts[v.Outcome]++
		}
		if counts[Stored] < 1 || counts[Stored] > 10 || counts[Stored]+counts[TooMuch] != 100 {
			t.Errorf("of 100 messages of 1,800 readings, %d bytes each: %v", len(body), counts)
		}
	})
}

func TestClosingKeepsWhatIsGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, func(c *Config) { c.Window = time.Minute })
		d.say("boiler-7", parcel.Telemetry, `{"x":1}`)
		d.Close()
		if len(d.kept) != 1 || d.verdicts[0].Outcome != Stored {
			t.Errorf("%d kept, answers %+v", len(d.kept), d.verdicts)
		}
		if v := d.one("boiler-7", parcel.Telemetry, `{"x":1}`); v.Outcome != Closing {
			t.Error(v)
		}
	})
}

// A batch that is not taken apart gets its key in place, however its head is written.
func TestAKeyIsWrittenIntoABatchOfAnyHead(t *testing.T) {
	b := batch.NewBuilder()
	b.SetInt(1, "x", 5)
	plain, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string][]byte{
		"plain":         plain,
		"array16":       append([]byte{0xdc, 0, 8}, plain[1:]...),
		"array32":       append([]byte{0xdd, 0, 0, 0, 8}, plain[1:]...),
		"a wide number": append([]byte{0x98, 0xcf, 0, 0, 0, 0, 0, 0, 0, 1}, plain[2:]...),
	} {
		keyed, err := addKey(p, 1<<31, 1<<52)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var d batch.Batch
		if err := d.Decode(keyed); err != nil || !d.Keyed || d.Boot != 1<<31 || d.Seq != 1<<52 || d.Values != 1 || d.Times[0] != 1 {
			t.Errorf("%s: %v %+v", name, err, d)
		}
	}
	for _, p := range [][]byte{nil, {0x98}, {0x98, 1, 3, 4}, {0xdd, 0}} {
		if out, err := addKey(p, 1, 1); err == nil {
			t.Errorf("% x became % x", p, out)
		}
	}
}

func TestAConfigurationNamesWhatIsWrong(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"window": func(c *Config) { c.Window = -1 }, "devices": func(c *Config) { c.Devices = 0 }, "messages": func(c *Config) { c.Messages = 0 },
		"burst": func(c *Config) { c.Burst = 0 }, "body": func(c *Config) { c.Body = 5 << 20 }, "queue": func(c *Config) { c.Queue = 1 },
		"rules[0].": func(c *Config) { c.Rules = []rule.Config{{}} },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
