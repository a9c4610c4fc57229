package fast

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/report"
	"muster.dev/fleet/simulator/world"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/platform/roster"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func calm(devices int, lasts time.Duration) *scenario.Scenario {
	return &scenario.Scenario{
		Name: "calm", Begins: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Lasts: lasts,
		Cohorts: []scenario.Cohort{
			{Name: "north-east", Devices: devices, ID: "north-%04d", Interval: time.Minute, Region: "eu", Sites: 3, Class: "standard", Firmware: "1.0.0",
				Metrics: []scenario.Metric{{Name: "temperature", Kind: "gauge", Decimals: 1, Model: scenario.Model{Base: 21, Noise: 0.3}}}},
			{Name: "south", Devices: devices / 2, ID: "south-%04d", Interval: 30 * time.Second, Region: "us", Sites: 1, Class: "debug", Firmware: "1.0.0",
				Metrics: []scenario.Metric{{Name: "pressure", Kind: "gauge", Decimals: 1, Model: scenario.Model{Base: 101, Noise: 0.3}}}},
		},
	}
}

// play runs a world onto a log of its own and reads the log back.
func play(t *testing.T, s *scenario.Scenario, workers int) (Result, map[string][]*kgo.Record) {
	t.Helper()
	w, err := world.New(s, 7)
	if err != nil {
		t.Fatal(err)
	}
	_, seeds := logtest.Fake(t, nil)
	cfg := eventlog.DefaultConfig()
	cfg.Brokers = seeds
	result, err := Run(t.Context(), Settings{World: w, Log: cfg, Workers: workers, Losses: true})
	if err != nil {
		t.Fatal(err)
	}
	return result, readAll(t, cfg)
}

// end is how many records the log holds.
func end(t *testing.T, client *kgo.Client) (n int) {
	t.Helper()
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), record.TopicTelemetry, record.TopicEvents, record.TopicRegistry)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { n += int(o.Offset) })
	return n
}

func readAll(t *testing.T, cfg eventlog.Config) map[string][]*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(append(cfg.Options(), kgo.ConsumeTopics(record.TopicTelemetry, record.TopicEvents, record.TopicRegistry),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	out := map[string][]*kgo.Record{}
	total := end(t, client)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for n := 0; n < total; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			place := fmt.Sprintf("%s/%d", r.Topic, r.Partition)
			out[place] = append(out[place], r)
			n++
		})
	}
	return out
}

// digest is over what devices and gateways wrote: of the registry's log the topics' ids differ from log to log.
func digest(log map[string][]*kgo.Record) [32]byte {
	h := sha256.New()
	for _, topic := range []string{record.TopicTelemetry, record.TopicEvents} {
		for p := range 4 {
			for _, r := range log[fmt.Sprintf("%s/%d", topic, p)] {
				fmt.Fprintf(h, "%s %d %d %d %q %x %v\n", topic, p, r.Offset, r.Timestamp.UnixMilli(), r.Key, r.Value, r.Headers)
			}
		}
	}
	return [32]byte(h.Sum(nil))
}

func TestTheLogIsTheSameForAnyNumberOfWorkers(t *testing.T) {
	s := calm(800, 90*time.Minute) // more than one slot, and, as is held below, more than one lot in each partition
	one, log1 := play(t, s, 1)
	for p := range 4 {
		keys := map[string]bool{}
		for _, r := range log1[fmt.Sprintf("%s/%d", record.TopicTelemetry, p)] {
			keys[string(r.Key)] = true
		}
		if len(keys) <= lotSize {
			t.Errorf("partition %d has %d devices: one lot", p, len(keys))
		}
	}
	three, log3 := play(t, s, 3)
	if digest(log1) != digest(log3) {
		t.Error("the logs of one worker and of three differ")
	}
	for i := range one.Sums {
		if one.Sums[i] != three.Sums[i] {
			t.Errorf("partition %d: the sums differ", i)
		}
	}
	if one.Records != three.Records || one.Records < 90*(800+2*400) {
		t.Errorf("%d and %d records", one.Records, three.Records)
	}
}

func TestTheLogIsWhatGatewaysAndARegistryWrite(t *testing.T) {
	s := calm(20, time.Hour)
	result, log := play(t, s, 2)
	state := roster.NewState()
	for _, r := range log[record.TopicRegistry+"/0"] {
		if _, err := state.ApplyRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	if n := state.Counts(); n.Devices != 30 || n.Profiles != 2 || n.Topics != 6 {
		t.Fatalf("the registry tells of %+v", n)
	}
	made := map[string]report.Print{}
	marks := map[string]int{}
	for p := range 4 {
		var last int64
		for _, r := range log[fmt.Sprintf("%s/%d", record.TopicTelemetry, p)] {
			at := r.Timestamp.UnixMilli()
			if at < last {
				t.Fatalf("partition %d, offset %d: time goes back", p, r.Offset)
			}
			last = at
			if r.Key == nil {
				w, err := event.DecodeWatermark(r.Value)
				if err != nil || w.Time != at {
					t.Fatalf("watermark %+v at %d: %v", w, at, err)
				}
				marks[w.Gateway]++
				continue
			}
			stamp, err := record.ParseDevice(r.Headers[0].Value)
			if err != nil {
				t.Fatal(err)
			}
			d, ok := state.DeviceByNo(stamp.No)
			if !ok || string(d.ID) != string(r.Key) || d.Profile != stamp.Profile || d.Class != stamp.Class || eventlog.PartitionOf(r.Key, 4) != r.Partition {
				t.Fatalf("record of %s is stamped %+v, which is %+v", r.Key, stamp, d)
			}
			var b batch.Batch
			if err := b.Decode(r.Value); err != nil {
				t.Fatal(err)
			}
			if faults := b.Judge(nil, at, false); len(faults) > 0 {
				t.Fatalf("%s: %+v", r.Key, faults)
			}
			print := made[string(r.Key)]
			print.Add(b.Boot, b.Seq, record.Hash(r.Value))
			made[string(r.Key)] = print
		}
	}
	if want := 4 * 60; marks["gateway-eu"] != want || marks["gateway-us"] != want {
		t.Errorf("watermarks %v, want %d of each gateway", marks, want)
	}
	var total uint64
	for i, told := range result.Told {
		id := fmt.Sprintf("north-%04d", i+1)
		if i >= 20 {
			id = fmt.Sprintf("south-%04d", i-19)
		}
		if told.Telemetry != made[id] || told.Arrived != told.Telemetry.Count {
			t.Errorf("%s: the world tells of %+v, the log holds %+v", id, told.Telemetry, made[id])
		}
		total += told.Arrived
	}
	if want := uint64(20*60 + 10*120); total != want {
		t.Errorf("%d messages, want %d", total, want)
	}
}

func TestALogThatHoldsSomethingIsRefused(t *testing.T) {
	_, seeds := logtest.Fake(t, nil)
	cfg := eventlog.DefaultConfig()
	cfg.Brokers = seeds
	w, err := world.New(calm(2, time.Minute), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Settings{World: w, Log: cfg}); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Settings{World: w, Log: cfg}); !errors.Is(err, ErrWritten) {
		t.Fatalf("a second simulation onto the same log: %v", err)
	}
}
