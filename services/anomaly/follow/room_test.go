package follow

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/record"
)

func TestWhatIsNotReadyIsSaidInOneLine(t *testing.T) {
	if err := unready(nil, nil); err != nil {
		t.Error(err)
	}
	for want, lines := range map[string][2][]string{
		"b; a":                                 {{"b"}, {"a"}},
		"z; a; b; c; and 2 more are not ready": {{"z"}, {"e", "d", "c", "b", "a"}},
	} {
		if err := unready(lines[0], lines[1]); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// logged is a log that a test reads while it is written.
type logged struct {
	mu  sync.Mutex // over all
	all bytes.Buffer
}

func (s *logged) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(p)
}

func (s *logged) times(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.all.String(), text)
}

func TestWhatARoomWaitsForIsSaidOnceAndAgainWhenItChanges(t *testing.T) {
	w := worldWithout(t)
	log := &logged{}
	r, err := newRoom(w.config(), w.log, slog.New(slog.NewTextHandler(log, nil)), prometheus.NewRegistry(), w.kinds("1"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := r.await(t.Context()); done <- err }()
	missing := func(topic string) {
		w.until(topic+" is said to be missing", func() error {
			if log.times("missing=\""+topic+": ") == 0 {
				return errNotYet
			}
			return nil
		})
	}
	missing(record.TopicTelemetry)
	all := eventlog.Topics(parts, true)
	telemetry := slices.IndexFunc(all, func(topic eventlog.Topic) bool { return topic.Name == record.TopicTelemetry })
	if _, err := eventlog.EnsureTopics(t.Context(), w.cl, all[telemetry:telemetry+1]); err != nil {
		t.Fatal(err)
	}
	missing(record.TopicEvents)
	w.topics()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := log.times(record.TopicTelemetry); n != 1 {
		t.Errorf("%s was said to be missing %d times", record.TopicTelemetry, n)
	}
}
