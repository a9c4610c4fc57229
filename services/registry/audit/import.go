package audit

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"muster.dev/proto/record"
)

// maxLine bounds a line of an export: a value of 1 MiB is more than 3 MiB of text with all that is said of it.
const maxLine = 12 << 20

// ErrExport is in the error of a file that is no export.
var ErrExport = errors.New("this is no export of the registry's log")

// quoted is a line of an export as it was read: what it says of a record.
type quoted struct {
	line int
	rec  Record
	says []string // cells, to be held against what the record says itself
	hash string
}

// VerifyExport reads an export and holds each line to its own value, and the values to each other as Verifier does.
// each, which may be nil, is told each record. An error is of the reading; what is wrong with the export is in the report.
func VerifyExport(in io.Reader, source string, each func(), kept ...*Kept) (Report, error) {
	v, r := NewVerifier(kept...), NewReader()
	lines := &places{}
	v.line = lines.of
	began := false
	take := func(q quoted) error {
		began = true
		lines.put(q.rec.Offset, q.line)
		e, linked, err := v.Add(q.rec)
		entry := r.Entry(q.rec, e, linked, err)
		v.quote(q, entry)
		if each != nil {
			each()
		}
		return nil
	}
	buffered := bufio.NewReaderSize(in, 64<<10)
	first, err := buffered.Peek(1)
	if err != nil {
		return Report{}, fmt.Errorf("%w: it is empty", ErrExport)
	}
	if first[0] == '{' {
		err = v.readLines(buffered, take)
	} else {
		err = v.readCSV(buffered, take)
	}
	if err != nil {
		return Report{}, err
	}
	if !began && v.part {
		v.part = false
	}
	return v.Report(source), nil
}

// quote holds what a line says to what its record says.
func (v *Verifier) quote(q quoted, entry Entry) {
	if q.hash != entry.Hash.String() {
		v.find(Finding{Kind: Misquoted, Offset: q.rec.Offset, Event: entry.Event,
			Expected: "a value of SHA-256 " + clip(q.hash) + ", as the line says", Stands: "a value of SHA-256 " + entry.Hash.String()})
	}
	for i, want := range cells(entry) {
		name := columns[i]
		if name == "hash" || name == "value" || q.says[i] == want {
			continue
		}
		if v.part && (name == "device" || name == "subject") {
			continue // who a number is may stand before the part
		}
		v.find(Finding{Kind: Misquoted, Offset: q.rec.Offset, Event: entry.Event,
			Expected: fmt.Sprintf("%s: %s, as the event says", name, clip(want)), Stands: clip(q.says[i])})
	}
}

func clip(s string) string {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return strconv.Quote(s)
}

// readLines reads an export of JSON lines.
func (v *Verifier) readLines(in *bufio.Reader, take func(quoted) error) error {
	n, records := 0, uint64(0)
	var end *ending
	var last Hash
	for {
		raw, err := line(in)
		if errors.Is(err, io.EOF) {
			break
		}
		n++
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		switch {
		case n == 1:
			var o opening
			if err := strict(raw, &o); err != nil || o.Export != record.TopicRegistry {
				return fmt.Errorf("%w: its first line does not open one of %s: %.80q", ErrExport, record.TopicRegistry, raw)
			}
			if o.Version != exportVersion {
				return fmt.Errorf("%w: version %d is not known here", ErrExport, o.Version)
			}
			if !o.Whole {
				v.Part()
			}
		case end != nil:
			return fmt.Errorf("line %d: %w: something stands behind its end", n, ErrExport)
		case bytes.HasPrefix(raw, []byte(`{"end":`)):
			end = &ending{}
			if err := strict(raw, end); err != nil {
				return fmt.Errorf("line %d: %w: %w", n, ErrExport, err)
			}
		default:
			q, err := quote(raw)
			if err != nil {
				return fmt.Errorf("line %d: %w: %w", n, ErrExport, err)
			}
			q.line = n
			if err := take(q); err != nil {
				return err
			}
			records++
			if h, err := ParseHash(q.hash); err == nil {
				last = h
			}
		}
	}
	switch {
	case end == nil:
		v.find(Finding{Kind: Cut, Offset: -1, Line: n + 1, Expected: "the line that ends an export", Stands: "the end of the file",
			Do: "the file is cut, or was not finished: have it exported again"})
	case end.Records != records || end.Head != last:
		v.find(Finding{Kind: Cut, Offset: -1, Line: n, Expected: fmt.Sprintf("%d records, the last of SHA-256 %s, as the last line says", end.Records, end.Head),
			Stands: fmt.Sprintf("%d records, the last of SHA-256 %s", records, last), Do: "lines were taken out or put in: have it exported again"})
	}
	return nil
}

// line reads a line within its bound, without its end.
func line(in *bufio.Reader) ([]byte, error) {
	var out []byte
	for {
		piece, err := in.ReadSlice('\n')
		if len(out)+len(piece) > maxLine {
			return nil, fmt.Errorf("%w: a line is longer than %d bytes", ErrExport, maxLine)
		}
		out = append(out, piece...)
		switch {
		case err == nil:
			return out[:len(out)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(out) > 0:
			return out, nil
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		default:
			return nil, fmt.Errorf("read the export: %w", err)
		}
	}
}

func strict(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("read it as JSON: %w", err)
	}
	if dec.More() {
		return errors.New("more than one document is on it")
	}
	return nil
}

// quote reads a line about a record.
func quote(raw []byte) (quoted, error) {
	var e Entry
	if err := strict(raw, &e); err != nil {
		return quoted{}, err
	}
	if y := e.Time.UTC().Year(); y < 0 || y > 9999 {
		return quoted{}, errors.New("time: no such year")
	}
	// What cells leaves out where the record is no event must be as it would be written then.
	if e.Error != "" && (e.Event != 0 || !e.Time.IsZero()) {
		return quoted{}, errors.New("a record that is no event has a number or a time")
	}
	return quoted{rec: Record{Offset: e.Offset, Type: e.Type, Value: e.Value}, says: cells(e), hash: e.Hash.String()}, nil
}

// meter bounds what is read for one row: a quote that never ends would be read whole.
type meter struct {
	in   io.Reader
	left int
}

func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, fmt.Errorf("%w: a row is longer than %d bytes", ErrExport, maxLine)
	}
	n, err := m.in.Read(p[:min(len(p), m.left)])
	m.left -= n
	return n, err //nolint:wrapcheck // io.EOF must stay what it is
}

// readCSV reads an export for spreadsheets.
func (v *Verifier) readCSV(in *bufio.Reader, take func(quoted) error) error {
	m := &meter{in: in, left: maxLine}
	rows := csv.NewReader(m)
	rows.FieldsPerRecord = len(columns)
	head, err := rows.Read()
	if err != nil || !slices.Equal(head, columns) {
		return fmt.Errorf("%w: want the columns %v, or JSON lines", ErrExport, columns)
	}
	for {
		m.left = maxLine
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrExport, err)
		}
		at, _ := rows.FieldPos(0)
		q := quoted{line: at, says: row, hash: row[10]}
		if q.rec.Offset, err = strconv.ParseInt(row[1], 10, 64); err != nil {
			return fmt.Errorf("line %d: %w: offset %.20q", at, ErrExport, row[1])
		}
		if q.rec.Value, err = base64.StdEncoding.Strict().DecodeString(row[11]); err != nil {
			return fmt.Errorf("line %d: %w: the value is no base64", at, ErrExport)
		}
		if q.rec.Type = row[3]; len(q.rec.Type) > 0 && q.rec.Type[0] == '\'' {
			q.rec.Type = q.rec.Type[1:]
		}
		if !v.started && row[0] != "" && row[0] != "1" {
			v.Part()
		}
		if err := take(q); err != nil {
			return err
		}
	}
}

// places remembers on which lines the last records stand.
type places struct {
	offsets [1024]int64
	lines   [1024]int
	n       int
}

func (p *places) put(offset int64, line int) {
	p.offsets[p.n%len(p.offsets)], p.lines[p.n%len(p.lines)] = offset, line
	p.n++
}

func (p *places) of(offset int64) int {
	for i := range min(p.n, len(p.offsets)) {
		at := (p.n - 1 - i) % len(p.offsets)
		if p.offsets[at] == offset {
			return p.lines[at]
		}
	}
	return 0
}
