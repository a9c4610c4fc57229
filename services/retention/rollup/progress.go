package rollup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const progressTable = "rollup_progress"

// partition is one of the log.
type partition struct{ gen, part uint16 }

// position is how far a partition's ledger was read: everything below off. stored is that of the row before off, the one
// thing that a rebuild of the ledger does not repeat: by it a new ledger is told from the one that was read.
type position struct {
	off    uint64
	stored time.Time
}

// progress is what is kept between passes. Its row of no partition (0, 0) says who keeps it and which hours are closed.
type progress struct {
	owner     string
	pass      uint64
	closed    int64 // hours before it are stored
	positions map[partition]position
}

// ErrReplaced ends a Rollup whose place another has taken.
var ErrReplaced = errors.New("another roll-up is at work on this database")

func (r *Rollup) load(ctx context.Context) (progress, error) {
	p := progress{positions: map[partition]position{}}
	rows, err := r.store.Conn().Query(ctx, "SELECT topic_gen, part, off, stored_at, toUnixTimestamp(closed), owner, pass FROM "+r.table(progressTable)+" FINAL")
	if err != nil {
		return p, fmt.Errorf("read the progress: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var (
			at     partition
			pos    position
			closed uint32
			owner  string
			pass   uint64
		)
		if err := rows.Scan(&at.gen, &at.part, &pos.off, &pos.stored, &closed, &owner, &pass); err != nil {
			return p, fmt.Errorf("read the progress: %w", err)
		}
		p.pass = max(p.pass, pass)
		if at == (partition{}) {
			p.owner, p.closed = owner, int64(closed)/3600
			continue
		}
		p.positions[at] = pos
	}
	return p, rows.Err()
}

// save keeps the progress in one block, which is there whole or not at all.
func (r *Rollup) save(ctx context.Context, p progress) error {
	row := func(at partition, pos position) string {
		return fmt.Sprintf("(%d, %d, %d, fromUnixTimestamp64Milli(%d, 'UTC'), fromUnixTimestamp(%d), %s, %d)",
			at.gen, at.part, pos.off, pos.stored.UnixMilli(), p.closed*3600, literal(p.owner), p.pass)
	}
	values := []string{row(partition{}, position{stored: time.UnixMilli(0)})}
	for at, pos := range p.positions {
		values = append(values, row(at, pos))
	}
	// arrayJoin instead of VALUES: one select is one block.
	err := r.exec(ctx, fmt.Sprintf(`INSERT INTO %s (topic_gen, part, off, stored_at, closed, owner, pass)
SELECT row.1, row.2, row.3, row.4, row.5, row.6, row.7 FROM (SELECT arrayJoin([%s]) AS row)`, r.table(progressTable), strings.Join(values, ", ")))
	if err != nil {
		return fmt.Errorf("keep the progress: %w", err)
	}
	return nil
}

// own fails when the place was taken since it was ours.
func (r *Rollup) own(ctx context.Context) error {
	p, err := r.load(ctx)
	if err == nil && p.owner != r.owner {
		err = ErrReplaced
	}
	return err
}

// forget drops the positions of partitions whose ledger is no longer the one that was read: it was dropped, and filled
// again by a replay. They are read from the start.
func (r *Rollup) forget(ctx context.Context, p progress) error {
	if len(p.positions) == 0 {
		return nil
	}
	var keys []string
	for at, pos := range p.positions {
		keys = append(keys, fmt.Sprintf("(%d, %d, %d)", at.gen, at.part, pos.off-1))
	}
	rows, err := r.store.Conn().Query(ctx, fmt.Sprintf("SELECT topic_gen, part, stored_at FROM %s WHERE (topic_gen, part, off) IN (%s)",
		r.table("ledger"), strings.Join(keys, ", ")))
	if err != nil {
		return fmt.Errorf("look for the last row that was read: %w", err)
	}
	defer rows.Close()
	same := map[partition]bool{}
	for rows.Next() {
		var at partition
		var stored time.Time
		if err := rows.Scan(&at.gen, &at.part, &stored); err != nil {
			return fmt.Errorf("look for the last row that was read: %w", err)
		}
		same[at] = same[at] || stored.Equal(p.positions[at].stored)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look for the last row that was read: %w", err)
	}
	for at := range p.positions {
		if !same[at] {
			r.log.Warn("the ledger is not the one that was read; reading it from the start", "topic_gen", at.gen, "partition", at.part)
			delete(p.positions, at)
		}
	}
	return nil
}
