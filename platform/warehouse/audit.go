package warehouse

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Report is what the auditor found.
type Report struct {
	At         time.Time   `json:"at"`
	Partitions []Partition `json:"partitions"`
}

// Partition is the auditor's finding for one partition of one topic.
type Partition struct {
	TopicGen uint16 `json:"topic_gen"`
	Part     uint16 `json:"part"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	Rows     uint64 `json:"rows"`
	// Missing offsets lie between First and Last and have no row; Double is
	// how many rows there are beside the first of their offset.
	Missing uint64 `json:"missing"`
	Double  uint64 `json:"double"`
	// DoubleKeys is how many (device, boot, seq) were stored more than once.
	DoubleKeys uint64 `json:"double_keys"`

	Stored      uint64 `json:"stored"`
	Duplicate   uint64 `json:"duplicate"`
	Conflict    uint64 `json:"conflict"`
	Quarantined uint64 `json:"quarantined"`
	Control     uint64 `json:"control"`

	// Values is what the ledger says was stored, Found what the tables hold:
	// values of samples, and device events. Faults and FoundFaults are the
	// same of the quarantine.
	Values      uint64 `json:"values"`
	Found       uint64 `json:"found"`
	Faults      uint64 `json:"faults"`
	FoundFaults uint64 `json:"found_faults"`
	// Landing counts values and faults above the ledger's last offset. The
	// ledger lands last, so they are of a plan that is under way, or of one
	// whose sink died: the next owner completes it. They stay only if no sink
	// follows the partition.
	Landing uint64 `json:"landing"`
}

// OK says whether nothing is missing, double or miscounted.
func (p Partition) OK() bool {
	if p.Rows == 0 && p.Landing > 0 {
		return false // no plan of the partition has ever landed: nothing vouches for these rows
	}
	return p.Missing == 0 && p.Double == 0 && p.DoubleKeys == 0 && p.Values == p.Found && p.Faults == p.FoundFaults
}

// OK says whether every partition is in order.
func (r Report) OK() bool {
	for _, p := range r.Partitions {
		if !p.OK() {
			return false
		}
	}
	return true
}

// String is the report as a person reads it: a line a partition, and a verdict.
func (r Report) String() string {
	var b strings.Builder
	var bad int
	for _, p := range r.Partitions {
		verdict := "ok"
		if !p.OK() {
			verdict, bad = "NOT OK", bad+1
		}
		fmt.Fprintf(&b, "topic %d partition %d: offsets %d-%d, %d rows, %d missing, %d double, %d double keys; "+
			"%d stored + %d duplicate + %d conflict + %d quarantined + %d control; values %d, found %d; faults %d, found %d: %s\n",
			p.TopicGen, p.Part, p.First, p.Last, p.Rows, p.Missing, p.Double, p.DoubleKeys,
			p.Stored, p.Duplicate, p.Conflict, p.Quarantined, p.Control, p.Values, p.Found, p.Faults, p.FoundFaults, verdict)
		if p.Landing > 0 {
			fmt.Fprintf(&b, "topic %d partition %d: %d values stand above the ledger, of a plan that is landing\n", p.TopicGen, p.Part, p.Landing)
		}
	}
	if bad == 0 {
		fmt.Fprintf(&b, "%d partitions, all in order\n", len(r.Partitions))
	} else {
		fmt.Fprintf(&b, "%d of %d partitions not in order\n", bad, len(r.Partitions))
	}
	return b.String()
}

// AuditSettings say how to audit.
type AuditSettings struct {
	// LedgerOnly leaves out the counting of values, for when days of samples
	// were dropped on purpose.
	LedgerOnly bool
	// Progress is told how far the audit is.
	Progress Progress
}

// auditChunk bounds the memory of one question: 2 million offsets are 40 MB.
const auditChunk = 2_000_000

// Audit proves the ledger against itself and against the tables, see Report.
// It may run while rows are inserted: what stands above the ledger's end as it
// was at the audit's begin is told apart.
func (w *Warehouse) Audit(ctx context.Context) (Report, error) {
	return w.AuditWith(ctx, AuditSettings{})
}

// AuditWith is Audit with settings. On an error the report is as far as it came.
func (w *Warehouse) AuditWith(ctx context.Context, s AuditSettings) (Report, error) {
	r := Report{At: time.Now().UTC()}
	var err error
	if r.Partitions, err = w.auditSums(ctx); err != nil {
		return r, fmt.Errorf("warehouse: audit: %w", err)
	}
	for i := range r.Partitions {
		p := &r.Partitions[i]
		if err := w.auditOffsets(ctx, p, s.Progress); err != nil {
			return r, fmt.Errorf("warehouse: audit the offsets of %d/%d: %w", p.TopicGen, p.Part, err)
		}
		if err := w.auditKeys(ctx, p); err != nil {
			return r, fmt.Errorf("warehouse: audit the keys of %d/%d: %w", p.TopicGen, p.Part, err)
		}
	}
	if s.LedgerOnly {
		for i := range r.Partitions {
			p := &r.Partitions[i]
			p.Found, p.FoundFaults = p.Values, p.Faults
		}
		return r, nil
	}
	if err := w.auditTables(ctx, &r, s.Progress); err != nil {
		return r, fmt.Errorf("warehouse: audit: %w", err)
	}
	return r, nil
}

func (w *Warehouse) auditSums(ctx context.Context) ([]Partition, error) {
	ctx, cancel := w.bound(ctx)
	defer cancel()
	rows, err := w.conn.Query(params(ctx), `SELECT topic_gen, part, min(off), max(off), count(),
    countIf(outcome = 'stored'), countIf(outcome = 'duplicate'), countIf(outcome = 'conflict'), countIf(outcome = 'quarantined'), countIf(outcome = 'control'),
    sum(n), sum(faults)
FROM `+w.table("ledger")+` GROUP BY topic_gen, part ORDER BY topic_gen, part`)
	if err != nil {
		return nil, fmt.Errorf("sum the ledger: %w", classify(err))
	}
	defer rows.Close()
	var list []Partition
	for rows.Next() {
		var p Partition
		if err := rows.Scan(&p.TopicGen, &p.Part, &p.First, &p.Last, &p.Rows,
			&p.Stored, &p.Duplicate, &p.Conflict, &p.Quarantined, &p.Control, &p.Values, &p.Faults); err != nil {
			return nil, fmt.Errorf("sum the ledger: %w", err)
		}
		list = append(list, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("sum the ledger: %w", classify(err))
	}
	return list, nil
}

// auditOffsets counts exactly, a range of offsets after another.
func (w *Warehouse) auditOffsets(ctx context.Context, p *Partition, progress Progress) error {
	for from := p.First; from <= p.Last; {
		to := min(p.Last, from+auditChunk-1)
		rows, offsets, err := w.LedgerRange(ctx, p.TopicGen, p.Part, from, to)
		if err != nil {
			return err
		}
		p.Missing += to - from + 1 - offsets
		p.Double += rows - offsets
		progress.say("topic %d partition %d: offsets up to %d of %d", p.TopicGen, p.Part, to, p.Last)
		if to == p.Last {
			break
		}
		from = to + 1
	}
	return nil
}

// auditKeys looks at a share of the devices at a time.
func (w *Warehouse) auditKeys(ctx context.Context, p *Partition) error {
	shares := int(p.Rows/auditChunk) + 1
	for i := range shares {
		ctx, cancel := w.bound(ctx)
		var n uint64
		err := w.conn.QueryRow(params(ctx, "gen", u16(p.TopicGen), "part", u16(p.Part), "shares", strconv.Itoa(shares), "share", strconv.Itoa(i)),
			"SELECT count() FROM (SELECT 1 FROM "+w.table("ledger")+" WHERE topic_gen = {gen:UInt16} AND part = {part:UInt16}"+
				" AND outcome = 'stored' AND seq != "+unkeyedSQL+" AND intHash32(device_no) % {shares:UInt32} = {share:UInt32}"+
				" GROUP BY device_no, boot, seq HAVING count() > 1)").Scan(&n)
		cancel()
		if err != nil {
			return classify(err)
		}
		p.DoubleKeys += n
	}
	return nil
}

func (w *Warehouse) auditTables(ctx context.Context, r *Report, progress Progress) error {
	profiles, err := w.profiles(ctx)
	if err != nil {
		return err
	}
	settled := r.settled()
	type source struct{ table, values string }
	tables := []source{{"s_other", "count()"}, {"s_old", "count()"}, {"device_events", "count()"}}
	for _, p := range profiles {
		if len(p.Metrics) == 0 {
			continue
		}
		counts := make([]string, len(p.Metrics))
		for i, m := range p.Metrics {
			counts[i] = "count(" + quote(MetricColumn(m.Name)) + ")"
		}
		tables = append(tables, source{WideTable(p.Name), strings.Join(counts, " + ")})
	}
	for _, t := range tables {
		if err := w.auditTable(ctx, r, t.table, t.values, settled, func(p *Partition) *uint64 { return &p.Found }); err != nil {
			return err
		}
		progress.say("counted %s", t.table)
	}
	return w.auditTable(ctx, r, "quarantine", "count()", settled, func(p *Partition) *uint64 { return &p.FoundFaults })
}

// settled is an expression: whether a row lies below the end of its ledger. Of
// a partition that the ledger does not know, nothing does.
func (r *Report) settled() string {
	var b strings.Builder
	b.WriteString("multiIf(")
	for _, p := range r.Partitions {
		fmt.Fprintf(&b, "topic_gen = %d AND part = %d, off <= %d, ", p.TopicGen, p.Part, p.Last)
	}
	b.WriteString("0, 0, 0)") // with three arguments where there is no partition
	return b.String()
}

// auditTable adds what a table holds to the partitions that it is of.
func (w *Warehouse) auditTable(ctx context.Context, r *Report, table, values, settled string, sum func(*Partition) *uint64) error {
	ctx, cancel := w.bound(ctx)
	defer cancel()
	rows, err := w.conn.Query(params(ctx), "SELECT topic_gen, part, toBool("+settled+") AS settled, toUInt64("+values+") FROM "+w.table(table)+
		" GROUP BY topic_gen, part, settled ORDER BY topic_gen, part")
	if err != nil {
		return fmt.Errorf("count %s: %w", table, classify(err))
	}
	defer rows.Close()
	for rows.Next() {
		var gen, part uint16
		var below bool
		var n uint64
		if err := rows.Scan(&gen, &part, &below, &n); err != nil {
			return fmt.Errorf("count %s: %w", table, err)
		}
		if p := r.partition(gen, part); below {
			*sum(p) += n
		} else {
			p.Landing += n
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("count %s: %w", table, classify(err))
	}
	return nil
}

func (r *Report) partition(gen, part uint16) *Partition {
	for i := range r.Partitions {
		if p := &r.Partitions[i]; p.TopicGen == gen && p.Part == part {
			return p
		}
	}
	r.Partitions = append(r.Partitions, Partition{TopicGen: gen, Part: part})
	return &r.Partitions[len(r.Partitions)-1]
}
