package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/judge"
	"muster.dev/services/anomaly/shard"
)

// bundled is how settings lie in a bundle.
type bundled struct {
	Shard shard.Settings `json:"shard"`
	Judge judge.Settings `json:"judge"`
}

// Export tells a case once more and writes all that it took into a bundle, at most limit bytes before they are packed. A case
// that does not come out the same is not worth a bundle: then nothing is written, and the answer says why.
func (c *Case) Export(ctx context.Context, w io.Writer, by string, limit int64) (_ Answer, _ Manifest, err error) {
	rec, err := NewRecorder(c.Log, limit)
	if err != nil {
		return Answer{}, Manifest{}, err
	}
	defer func() { err = errors.Join(err, rec.Close()) }()
	again := *c
	again.Log, again.States = rec, keeping{c.States, rec}
	a, err := again.Again(ctx)
	if err != nil || !a.Same {
		return a, Manifest{}, err
	}
	err = rec.Keep(logEntry(record.TopicIncidents, 0), func(out io.Writer) error { return writeIncidents(out, c.Records) })
	if err != nil {
		return a, Manifest{}, err
	}
	settings, err := json.Marshal(bundled{c.Settings.Shard, c.Settings.Judge})
	if err != nil {
		return a, Manifest{}, fmt.Errorf("write the settings: %w", err)
	}
	last := &c.Records[len(c.Records)-1]
	m := Manifest{
		Made: time.Now().UTC().Truncate(time.Second), By: by, Incident: last.ID, Title: last.Title, Detector: last.Detector,
		Partitions: c.Settings.Partitions, Until: a.Until, Settings: settings, Start: c.Start,
	}
	return a, m, rec.Write(w, &m)
}

// keeping keeps the states that are read.
type keeping struct {
	from States
	rec  *Recorder
}

func (k keeping) State(ctx context.Context, name string) (io.ReadCloser, error) {
	in, err := k.from.State(ctx, name)
	if err != nil {
		return nil, err
	}
	whole, err := io.ReadAll(io.LimitReader(in, maxState))
	if err = errors.Join(err, in.Close()); err == nil {
		err = k.rec.weigh(len(whole))
	}
	if err != nil {
		return nil, err
	}
	err = k.rec.Keep(name, func(out io.Writer) error {
		_, err := out.Write(whole)
		return err
	})
	return io.NopCloser(bytes.NewReader(whole)), err
}

func writeIncidents(out io.Writer, records []event.Incident) error {
	for n, i := range records {
		value, headers, err := i.Encode()
		if err != nil {
			return err
		}
		if _, err := out.Write(appendRecord(nil, &Record{Offset: int64(n), Time: i.At, Key: []byte(i.ID), Value: value, Headers: headers})); err != nil {
			return err
		}
	}
	return nil
}

// Case is what the bundle is of.
func (b *Bundle) Case(ctx context.Context) (*Case, error) {
	var s bundled
	if err := json.Unmarshal(b.Settings, &s); err != nil {
		return nil, fmt.Errorf("%w: its settings: %w", ErrBundle, err)
	}
	c := &Case{Settings: Settings{Partitions: b.Partitions, Shard: s.Shard, Judge: s.Judge}, Start: b.Start, Log: b, States: b}
	err := b.Read(ctx, record.TopicIncidents, 0, 0, func(r *Record) error {
		i, err := event.DecodeIncident(r.Headers, r.Value)
		if err != nil {
			return fmt.Errorf("%w: the incident: %w", ErrBundle, err)
		}
		c.Records = append(c.Records, i)
		return nil
	})
	if err == nil && len(c.Records) == 0 {
		err = fmt.Errorf("%w: it has no incident", ErrBundle)
	}
	return c, err
}

// State is States'.
func (b *Bundle) State(_ context.Context, name string) (io.ReadCloser, error) { return b.open(name) }
