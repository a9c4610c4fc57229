package judgetest

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/eventlog"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// Judge is a log with its writer. It is for one goroutine.
type Judge struct {
	Config eventlog.Config
	Broker *kafka.Broker
	Last   int64 // offset of the last record
	out    *eventlog.Writer
	n      uint64
}

// Start gives an empty log, which goes when the test ends.
func Start(t testing.TB, cfg kafka.Config) *Judge {
	t.Helper()
	cfg.Listen, cfg.DataDir, cfg.NoAuth = "127.0.0.1:0", t.TempDir(), true
	broker, err := kafka.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	j := &Judge{Config: eventlog.Config{Brokers: []string{broker.Addr()}, ClientID: "test"}, Broker: broker, Last: -1}
	cl, err := kgo.NewClient(j.Config.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := eventlog.EnsureTopics(t.Context(), cl, eventlog.Topics(1, true)); err != nil {
		t.Fatal(err)
	}
	if j.out, err = eventlog.OpenWriter(t.Context(), j.Config, "judge"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.out.Close)
	return j
}

// Said is what incidents and verdicts have both.
type Said interface {
	Encode() ([]byte, []event.Header, error)
}

// Say appends incidents and verdicts in one transaction, and numbers them.
func (j *Judge) Say(t testing.TB, list ...Said) {
	t.Helper()
	var records []*kgo.Record
	for _, s := range list {
		j.n++
		switch v := s.(type) {
		case event.Incident:
			v.N = j.n
			s = v
		case event.Verdict:
			v.N = j.n
			s = v
		}
		value, headers, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		rec := &kgo.Record{Topic: record.TopicIncidents, Value: value}
		for _, h := range headers {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		records = append(records, rec)
	}
	j.Append(t, records...)
}

// Append appends records as they are.
func (j *Judge) Append(t testing.TB, records ...*kgo.Record) {
	t.Helper()
	if err := j.out.Append(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	j.Last = records[len(records)-1].Offset
}
