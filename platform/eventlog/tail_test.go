package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func fill(t *testing.T, cfg Config, n int, at func(i int) time.Time) {
	t.Helper()
	p, _ := producer(t, cfg, nil)
	for i := range n {
		rec := &kgo.Record{Topic: topic, Partition: 0, Value: fmt.Append(nil, i)}
		if at != nil {
			rec.Timestamp = at(i)
		}
		if err := p.Publish(within(t, aWhile), rec); err != nil {
			t.Fatal(err)
		}
	}
}

func tailed(t *testing.T, cfg Config, s TailSettings) []string {
	t.Helper()
	s.Topics = []string{topic}
	var got []*kgo.Record
	if err := Tail(within(t, aWhile), cfg, s, func(r *kgo.Record) error { got = append(got, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return values(got)
}

func TestTailEndsAtTheEndAndBeginsWhereItIsTold(t *testing.T) {
	cfg := log(t, 2, topic)
	if got := tailed(t, cfg, TailSettings{}); len(got) != 0 {
		t.Errorf("an empty log: %v", got)
	}
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	fill(t, cfg, 5, func(i int) time.Time { return day.AddDate(0, 0, i) })
	for name, tc := range map[string]struct {
		s    TailSettings
		want []string
	}{
		"from the start": {TailSettings{}, []string{"0", "1", "2", "3", "4"}},
		"the last two":   {TailSettings{Last: 2}, []string{"3", "4"}},
		"from offset 3":  {TailSettings{From: 3}, []string{"3", "4"}},
		"from the end":   {TailSettings{From: 9}, []string{}},
		"the last nine":  {TailSettings{Last: 9}, []string{"0", "1", "2", "3", "4"}},
		"since a day":    {TailSettings{Since: day.AddDate(0, 0, 3)}, []string{"3", "4"}},
		"since tomorrow": {TailSettings{Since: day.AddDate(1, 0, 0)}, []string{}},
	} {
		if got := tailed(t, cfg, tc.s); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTailReadsOnlyWhatWasCommittedAndStillFindsTheEnd(t *testing.T) {
	cfg := log(t, 1, topic)
	w := writer(t, cfg)
	if err := w.Append(within(t, aWhile), events("a")); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(within(t, aWhile), append(events("aborted"), &kgo.Record{Topic: topic, Partition: 9})); err == nil {
		t.Fatal("was taken")
	}
	if got := tailed(t, cfg, TailSettings{}); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%v", got)
	}
}

func TestTailFollowsUntilItIsStopped(t *testing.T) {
	cfg := log(t, 1, topic)
	fill(t, cfg, 2, nil)
	got := make(chan string, 16)
	next := func() (value string) {
		t.Helper()
		select {
		case value = <-got:
		case <-time.After(aWhile):
			t.Fatal("nothing was read")
		}
		return value
	}
	ended := make(chan error, 1)
	ctx := within(t, aWhile)
	go func() {
		ended <- Tail(ctx, cfg, TailSettings{Topics: []string{topic}, Follow: true, Start: true}, func(r *kgo.Record) error {
			got <- string(r.Value)
			if string(r.Value) == "new" {
				return ErrStop
			}
			return nil
		})
	}()
	next()
	next()
	p, _ := producer(t, cfg, nil)
	if err := p.Publish(ctx, &kgo.Record{Topic: topic, Value: []byte("new")}); err != nil {
		t.Fatal(err)
	}
	if v := next(); v != "new" {
		t.Errorf("read %s", v)
	}
	if err := <-ended; err != nil {
		t.Errorf("ErrStop is no error: %v", err)
	}
}

func TestTailHandsOverItsFunctionsErrorAndItsContexts(t *testing.T) {
	cfg := log(t, 1, topic)
	fill(t, cfg, 1, nil)
	boom := errors.New("boom")
	if err := Tail(within(t, aWhile), cfg, TailSettings{Topics: []string{topic}}, func(*kgo.Record) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	err := Tail(ctx, cfg, TailSettings{Topics: []string{topic}, Follow: true, Start: true}, func(*kgo.Record) error { cancel(boom); return nil })
	if !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
	if err := Tail(within(t, aWhile), cfg, TailSettings{Topics: []string{"nowhere"}}, nil); err == nil {
		t.Error("a topic that is not there was read")
	}
}
