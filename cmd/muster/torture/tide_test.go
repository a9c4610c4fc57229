//go:build linux

package torture

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// defaultPartitions of telemetry in a local stack.
const defaultPartitions = 4

// tide is how far the ledger reaches in each partition of telemetry. It is asked for what lies above what is known: the
// ledger may be long, and this is asked all the time. It belongs to one goroutine.
type tide struct {
	gen   uint16 // of telemetry, once known
	parts []reach
}

// reach is the last row of a partition.
type reach struct {
	rows bool // it has any
	off  uint64
	at   time.Time // when its record was accepted
}

// rise asks the ledger.
func (s *site) rise(ctx context.Context) error {
	t := &s.tide
	if t.gen == 0 {
		if err := s.house.Conn().QueryRow(ctx, "SELECT max(topic_gen) FROM muster.ledger WHERE outcome = 'stored'").Scan(&t.gen); err != nil {
			return err
		}
		t.parts = make([]reach, s.partitions)
	}
	var above []string
	for p, r := range t.parts {
		if r.rows {
			above = append(above, fmt.Sprintf("(part = %d AND off > %d)", p, r.off))
		} else {
			above = append(above, fmt.Sprintf("part = %d", p))
		}
	}
	rows, err := s.house.Conn().Query(ctx, fmt.Sprintf("SELECT part, max(off), max(got) FROM muster.ledger WHERE topic_gen = %d AND (%s) GROUP BY part", t.gen, strings.Join(above, " OR ")))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var part uint16
		var r reach
		if err := rows.Scan(&part, &r.off, &r.at); err != nil {
			return err
		}
		if int(part) >= len(t.parts) {
			return fmt.Errorf("partition %d of %d", part, len(t.parts))
		}
		r.rows = true
		t.parts[part] = r
	}
	return rows.Err()
}

// frontier is an instant that every partition of telemetry has reached: what it accepted then is stored.
func (s *site) frontier(ctx context.Context) (time.Time, error) {
	if err := s.rise(ctx); err != nil {
		return time.Time{}, err
	}
	var low time.Time
	for p, r := range s.tide.parts {
		if !r.rows {
			return time.Time{}, fmt.Errorf("partition %d has no rows", p)
		}
		if low.IsZero() || r.at.Before(low) {
			low = r.at
		}
	}
	return low, nil
}

// moves waits until every partition of telemetry has stored something that was accepted after an instant.
func (s *site) moves(after time.Time, limit time.Duration) (time.Duration, error) {
	err := s.within(limit, func(ctx context.Context) error {
		at, err := s.frontier(ctx)
		if err == nil && !at.After(after) {
			err = fmt.Errorf("stored up to %s, and it is %s", at.Format("15:04:05.000"), time.Now().UTC().Format("15:04:05.000"))
		}
		return err
	})
	return time.Since(after), err
}
