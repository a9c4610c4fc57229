package audit

import (
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"

	"muster.dev/proto/record"
)

// Format is the form of an export.
type Format string

// The formats.
const (
	JSONL Format = "jsonl" // a document a line, with a line that opens and one that ends it
	CSV   Format = "csv"   // for a spreadsheet; nothing in it says whether it is whole
)

// opening is the first line of an export as JSON lines.
type opening struct {
	Export  string     `json:"export"` // the topic
	Version int        `json:"version"`
	Whole   bool       `json:"whole"` // it begins with the log's first event
	From    *time.Time `json:"from,omitempty"`
	To      *time.Time `json:"to,omitempty"`
}

// ending is the last line.
type ending struct {
	End     bool   `json:"end"`
	Records uint64 `json:"records"`
	Head    Hash   `json:"head"` // of the last record
}

const exportVersion = 1

var columns = []string{"n", "offset", "time", "type", "who", "why", "device", "subject", "body", "error", "hash", "value"}

// Exporter writes entries. From and To cut it: it begins with the first event of From or later and ends before the
// first after that of To or later.
type Exporter struct {
	From, To time.Time

	out    io.Writer
	csv    *csv.Writer
	opened bool
	done   bool
	n      uint64
	head   Hash
}

// NewExporter writes to out, which the caller flushes and closes.
func NewExporter(out io.Writer, format Format) (*Exporter, error) {
	x := &Exporter{out: out}
	switch format {
	case JSONL:
	case CSV:
		x.csv = csv.NewWriter(out)
	default:
		return nil, fmt.Errorf("format %q: want %s or %s", format, JSONL, CSV)
	}
	return x, nil
}

// Records is how many were written.
func (x *Exporter) Records() uint64 { return x.n }

// Write adds an entry, in the log's order.
func (x *Exporter) Write(e Entry) error {
	if x.done || x.n == 0 && !x.From.IsZero() && (e.Error != "" || e.Time.Before(x.From)) {
		return nil
	}
	if !x.To.IsZero() && e.Error == "" && !e.Time.Before(x.To) {
		x.done = x.n > 0 || !x.From.IsZero()
		return nil
	}
	if err := x.open(); err != nil {
		return err
	}
	x.n++
	x.head = e.Hash
	if x.csv != nil {
		if err := x.csv.Write(cells(e)); err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
		return nil
	}
	return x.line(e)
}

func (x *Exporter) open() error {
	if x.opened {
		return nil
	}
	x.opened = true
	if x.csv != nil {
		if err := x.csv.Write(columns); err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
		return nil
	}
	o := opening{Export: record.TopicRegistry, Version: exportVersion, Whole: x.From.IsZero()}
	if !x.From.IsZero() {
		o.From = &x.From
	}
	if !x.To.IsZero() {
		o.To = &x.To
	}
	return x.line(o)
}

// Close ends the export: without it, it is known to be cut.
func (x *Exporter) Close() error {
	if err := x.open(); err != nil {
		return err
	}
	if x.csv != nil {
		x.csv.Flush()
		if err := x.csv.Error(); err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
		return nil
	}
	return x.line(ending{End: true, Records: x.n, Head: x.head})
}

func (x *Exporter) line(v any) error {
	raw, err := marshal(v)
	if err == nil {
		_, err = x.out.Write(append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	return nil
}

// cells are an entry as a row of a spreadsheet.
func cells(e Entry) []string {
	n, at := "", ""
	if e.Error == "" {
		n, at = strconv.FormatUint(e.Event, 10), stamp(e.Time.UnixMilli())
	}
	return []string{n, strconv.FormatInt(e.Offset, 10), at, inert(e.Type), inert(e.Who), inert(e.Why), inert(e.Device), inert(e.Subject),
		inert(string(e.Body)), inert(e.Error), e.Hash.String(), base64.StdEncoding.EncodeToString(e.Value)}
}

// inert keeps a spreadsheet from running what somebody gave as a reason.
func inert(s string) string {
	if s != "" {
		switch s[0] {
		case '=', '+', '-', '@', '\t', '\r', '\'':
			return "'" + s
		}
	}
	return s
}
