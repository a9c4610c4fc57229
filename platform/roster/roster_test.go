package roster

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// chain writes events as the registry does: each names the one before it.
type chain struct {
	t    testing.TB
	n    uint64
	prev [32]byte
}

func (c *chain) next(body event.Body) event.Registry {
	return event.Registry{N: c.n + 1, Prev: c.prev, Time: 1_795_341_850_123, Who: "test", Why: "a test", Body: body}
}

// records encodes the bodies as records from an offset on.
func (c *chain) records(offset int64, bodies ...event.Body) []*kgo.Record {
	c.t.Helper()
	var out []*kgo.Record
	for i, body := range bodies {
		rec := encode(c.t, c.next(body))
		rec.Offset = offset + int64(i)
		c.n, c.prev = c.n+1, event.Chain(rec.Value)
		out = append(out, rec)
	}
	return out
}

func encode(t testing.TB, e event.Registry) *kgo.Record {
	t.Helper()
	value, headers, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	rec := &kgo.Record{Topic: record.TopicRegistry, Value: value}
	for _, h := range headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return rec
}
