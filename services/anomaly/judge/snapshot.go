package judge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/security"
	"muster.dev/services/anomaly/series"
	"muster.dev/services/anomaly/silence"
	"muster.dev/services/anomaly/spend"
	"muster.dev/services/anomaly/state"
	"muster.dev/services/anomaly/update"
)

// ErrSettings says that a snapshot was made with other settings, or for another number of partitions.
var ErrSettings = errors.New("the snapshot is of other settings")

const (
	room        = "judge"
	form        = 1
	maxSettings = 64 << 10
)

// keeper is what each detector's part can do.
type keeper interface {
	Snapshot(io.Writer) error
	Restore(io.Reader) error
}

func (s *State) keepers() []keeper {
	return []keeper{s.silence, s.update, s.security, s.series, s.spend, s.book}
}

// Snapshot writes the state after the last cut. Pages and registry records that wait are not in it: they are read again
// from Position.
func (s *State) Snapshot(to io.Writer) error {
	settings, err := json.Marshal(s.settings)
	if err != nil {
		return fmt.Errorf("write the judge's settings: %w", err)
	}
	w := state.NewWriter(to)
	w.Head(room, form)
	w.Bytes(settings)
	w.U32(uint32(len(s.parts)))
	w.I64(s.at)
	w.U64(s.n)
	w.U64(s.cuts)
	w.Len(len(s.anew))
	for _, kind := range s.anew {
		w.Text(string(kind))
	}
	w.I64(s.registry.next)
	w.U64(s.registry.n)
	_, _ = w.Write(s.registry.prev[:])
	w.U64(s.registry.ignored)
	for i := range s.parts {
		p := &s.parts[i]
		w.U64(p.n)
		w.I64(p.until)
		w.Bool(p.dark)
		p.now.write(w)
		w.Len(len(p.ring.kept))
		for _, at := range p.ring.kept {
			at.write(w)
		}
	}
	w.Len(len(s.pins))
	for _, p := range s.pins {
		w.Text(p.rollout)
		w.Len(len(p.from))
		for _, r := range p.from {
			w.Text(r.Topic)
			w.Uint(uint64(r.Part))
			w.I64(r.From)
			w.I64(r.To)
		}
	}
	for _, k := range s.keepers() {
		if err := k.Snapshot(w); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (p position) write(w *state.Writer) {
	for _, v := range []int64{p.until, p.page, p.telemetry, p.events, p.registry} {
		w.Int(v)
	}
}

func readPosition(r *state.Reader) (p position) {
	for _, v := range []*int64{&p.until, &p.page, &p.telemetry, &p.events, &p.registry} {
		*v = r.Int()
	}
	return p
}

// Open reads a state that Snapshot wrote, with the settings that it was written with.
func Open(from io.Reader) (*State, error) {
	r := state.NewReader(from)
	s, err := open(r)
	if err != nil {
		return nil, err
	}
	return s, s.read(r)
}

// Restore reads a state that Snapshot wrote into one that New made. Of other settings it says ErrSettings: then Open
// reads it, and Adopt goes on with the new ones. After an error the state is to be thrown away.
func (s *State) Restore(from io.Reader) error {
	r := state.NewReader(from)
	was, err := open(r)
	if err != nil {
		return err
	}
	if was.hash != s.hash || len(was.parts) != len(s.parts) {
		return fmt.Errorf("%w: %s and %d partitions, not %s and %d", ErrSettings, was.hash, len(was.parts), s.hash, len(s.parts))
	}
	return s.read(r)
}

func open(r *state.Reader) (*State, error) {
	r.Head(room, form)
	text, parts := r.Bytes(maxSettings), r.U32()
	if err := r.Err(); err != nil {
		return nil, err
	}
	var settings Settings
	if err := json.Unmarshal(text, &settings); err != nil {
		return nil, fmt.Errorf("%w: its settings: %w", state.ErrDamaged, err)
	}
	s, err := New(int32(min(parts, 1<<17)), settings)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", state.ErrDamaged, err)
	}
	return s, nil
}

func (s *State) read(r *state.Reader) error {
	s.at, s.n, s.cuts = r.I64(), r.U64(), r.U64()
	for range r.Len(len(incident.Kinds)) {
		s.anew = append(s.anew, event.IncidentKind(r.Text()))
	}
	s.registry.next, s.registry.n = r.I64(), r.U64()
	s.registry.known = s.registry.next
	for i := range s.registry.prev {
		s.registry.prev[i] = r.U8()
	}
	s.registry.ignored = r.U64()
	for i := range s.parts {
		p := &s.parts[i]
		p.n, p.until, p.dark, p.now = r.U64(), r.I64(), r.Bool(), readPosition(r)
		for range r.Len(ringMost) {
			p.ring.kept = append(p.ring.kept, readPosition(r))
			if r.Err() != nil {
				return r.Err()
			}
		}
	}
	for range r.Len(maxPins) {
		p := pin{rollout: r.Text()}
		for range r.Len(3*len(s.parts) + 1) {
			p.from = append(p.from, event.Range{Topic: r.Text(), Part: int32(r.Uint()), From: r.I64(), To: r.I64()})
			if r.Err() != nil {
				return r.Err()
			}
		}
		s.pins = append(s.pins, p)
	}
	if r.Err() != nil {
		return r.Err()
	}
	for _, k := range s.keepers() {
		if err := k.Restore(r); err != nil {
			return err
		}
	}
	return r.Err()
}

// Adopt goes on with other settings. Detectors whose settings are others begin anew, and what they had open is resolved
// at the next cut. Its caller takes a snapshot at once, before the next page: the log does not say when it was.
func (s *State) Adopt(settings Settings) error {
	if err := settings.Validate(); err != nil {
		return err
	}
	hash, err := settings.Hash()
	if err != nil {
		return err
	}
	was := s.settings
	if !reflect.DeepEqual(was.Silence, settings.Silence) {
		s.silence, s.anew = silence.NewCohorts(settings.Silence), append(s.anew, event.SilentCohort, event.Pipeline)
	}
	if !reflect.DeepEqual(was.Update, settings.Update) {
		// What the registry said of rollouts under way is not said again.
		var kept bytes.Buffer
		rollouts := update.NewRollouts(settings.Update)
		if err := errors.Join(s.update.Snapshot(&kept), rollouts.Restore(&kept)); err != nil {
			return fmt.Errorf("take the rollouts over: %w", err)
		}
		s.update = rollouts
	}
	if !reflect.DeepEqual(was.Security, settings.Security) {
		s.security, s.anew = security.NewJudge(settings.Security), append(s.anew, event.Security)
	}
	if !reflect.DeepEqual(was.Series, settings.Series) {
		s.series, s.anew = series.NewPeers(settings.Series), append(s.anew, event.TelemetryAnomaly)
	}
	if !reflect.DeepEqual(was.Spend, settings.Spend) {
		s.spend, s.anew = spend.NewForecasts(settings.Spend), append(s.anew, event.Spend)
	}
	s.settings, s.hash = settings, hash
	return s.book.Adopt(settings.Incident)
}

// startAnew resolves what detectors had open that began anew.
func (s *State) startAnew(at int64) (records []event.Incident) {
	for _, kind := range s.anew {
		records = append(records, s.book.End(kind, at, "the detector's settings were changed: what goes on is told anew")...)
	}
	s.anew = nil
	return records
}
