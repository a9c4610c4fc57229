package verbs

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"muster.dev/cmd/muster/stack"
	"muster.dev/fleet/scenario"
	"muster.dev/platform/principals"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/replay"
)

// Bounds of the drawing of a silence.
const (
	columns   = 60
	drawnMost = 12 * time.Hour // of pages that are read for it
)

// look is what the detectors saw of one cohort in one region and partition at one instant.
type look struct {
	at                int64
	of                place
	expected, missing uint32
	ours              bool
}

type place struct {
	part           int32
	cohort, region string
}

// concerns says whether a slot is of what a silence is about.
func concerns(s event.Subject, slot *page.Slot) bool {
	return (s.Cohort == "" || s.Cohort == slot.Cohort) && (s.Region == "" || s.Region == slot.Region)
}

// looks reads the pages that a silence rests on; of one that is open those that came since, too.
func looks(ctx context.Context, log *replay.Broker, i *event.Incident) (out []look, err error) {
	limit := i.Since + drawnMost.Milliseconds()
	for _, e := range i.Evidence {
		if e.Topic != record.TopicCohorts {
			continue
		}
		err := log.Read(ctx, e.Topic, e.Part, e.From, func(r *replay.Record) error {
			p, err := page.Decode(r.Headers, r.Value)
			if err != nil {
				return nil //nolint:nilerr // one of a later release is not this one's to read
			}
			if p.Until > limit || i.State == event.IncidentResolved && r.Offset >= e.To {
				return replay.ErrEnough
			}
			for n := range p.Slots {
				if s := &p.Slots[n]; concerns(i.Subject, s) {
					out = append(out, look{s.At, place{e.Part, s.Cohort, s.Region}, s.Expected, s.Missing, s.Ours})
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// drawing is the share of a silence's devices that was missing, by columns of equal time.
type drawing struct {
	from, step    int64
	share         [columns]float64 // missing of expected; below 0: nobody was expected
	ours          [columns]bool
	used          int
	worst, latest seen
}

type seen struct {
	at                int64
	expected, missing uint32
}

func (s seen) String() string {
	return fmt.Sprintf("%d of %d at %s", s.missing, s.expected, milliTime(s.at).Format(time.TimeOnly))
}

// draw puts looks, in any order, into columns. What was seen of a place holds until the next look at it.
func draw(all []look) *drawing {
	if len(all) == 0 {
		return nil
	}
	first, last := all[0].at, all[0].at
	for _, l := range all {
		first, last = min(first, l.at), max(last, l.at)
	}
	const grid = 5_000 // the detectors' clock
	d := &drawing{from: first, step: max(1, ((last-first)/columns+grid)/grid) * grid}
	d.used = int((last-first)/d.step) + 1
	newest := make([]map[place]look, d.used)
	for _, l := range all {
		n := int((l.at - first) / d.step)
		if newest[n] == nil {
			newest[n] = map[place]look{}
		}
		if known, ok := newest[n][l.of]; !ok || known.at <= l.at {
			newest[n][l.of] = l
		}
		d.ours[n] = d.ours[n] || l.ours
	}
	now := map[place]look{}
	for n := range d.used {
		s := seen{}
		for of, l := range newest[n] {
			now[of] = l
		}
		for _, l := range now {
			s.at, s.expected, s.missing = max(s.at, l.at), s.expected+l.expected, s.missing+l.missing
		}
		d.share[n] = -1
		if s.expected > 0 {
			d.share[n] = float64(s.missing) / float64(s.expected)
		}
		if d.latest = s; s.missing > d.worst.missing {
			d.worst = s
		}
	}
	return d
}

var bars = []rune("▁▂▃▄▅▆▇█")

func (d *drawing) print(b *strings.Builder, i *event.Incident) {
	fmt.Fprintf(b, "\nmissing of the expected, %s to %s UTC, %s a column: _ none, ▄ half, █ all; ? our own side was out\n  ", minute(d.from),
		milliTime(d.latest.at).Format(time.TimeOnly), scenario.FormatSpan(time.Duration(d.step)*time.Millisecond))
	for n := range d.used {
		switch share := d.share[n]; {
		case d.ours[n]:
			b.WriteByte('?')
		case share < 0:
			b.WriteByte(' ')
		case share == 0:
			b.WriteByte('_')
		default:
			b.WriteRune(bars[min(len(bars), int(math.Ceil(share*float64(len(bars)))))-1])
		}
	}
	fmt.Fprintf(b, "\n  %*s since %s; most %v; last %v\n", min(max(0, int((i.Since-d.from)/d.step)), d.used-1)+1, "^", milliTime(i.Since).Format(time.TimeOnly), d.worst, d.latest)
}

// drawSilence draws what is known of a silence. Without the pages, which the log does not keep for ever, there is none.
func (f *frame) drawSilence(ctx context.Context, i *event.Incident) *drawing {
	if i.Kind != event.SilentCohort {
		return nil
	}
	dir, inst, err := f.running()
	if err != nil {
		return nil
	}
	cfg, err := f.logAs(dir, inst, principals.Reader, stack.SecretKafkaReader)
	if err != nil {
		return nil
	}
	all, err := looks(ctx, replay.NewBroker(cfg), i)
	if err != nil {
		f.say("there is no drawing of it: %v", err)
	}
	return draw(all)
}
