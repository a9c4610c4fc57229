package series

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Limits of a file.
type Limits struct {
	Line int // bytes of a line
}

// DefaultLimits are wide for any real file.
func DefaultLimits() Limits { return Limits{Line: 4096} }

// CSV reads timestamp,value rows and writes timestamp,value,score: the Detector's score of each row, which uses that row
// and those before it. A header may name the two columns anywhere in the line; without one they are the first two.
// A timestamp is RFC 3339, YYYY-MM-DD hh:mm:ss (UTC; the seconds or the time may be left out), or Unix milliseconds.
// Where a value is missing (empty, NaN, NA, N/A, null, None), so is the score, and the Detector does not see the row.
// Memory does not grow with the file. Flat lines are in no score; flat, if there is one, is given each when it is over, or
// the file is.
//
// An error names the line; the rows before it are written.
func CSV(r io.Reader, w io.Writer, l Limits, flat func(Flat)) error {
	out := bufio.NewWriter(w)
	_, _ = out.WriteString("timestamp,value,score\n") // an error of a bufio.Writer stays until Flush
	var d Detector
	still := recorded{each: flat}
	var line []byte
	err := readRows(r, l, func(row csvRow) error {
		line = append(append(line[:0], row.time...), ',')
		line = append(append(line, row.text...), ',')
		if !row.missing {
			line = strconv.AppendFloat(line, d.Row(row.at, row.value), 'f', -1, 64)
			still.row(&d, &row)
		}
		_, err := out.Write(append(line, '\n'))
		return err
	})
	still.end()
	return errors.Join(err, out.Flush())
}

// csvRow is one row; the texts hold until the next.
type csvRow struct {
	at         int64
	value      float64
	missing    bool // the value
	time, text []byte
}

// columns says where in a line what is read stands.
type columns struct{ time, value int }

func readRows(r io.Reader, l Limits, each func(csvRow) error) error {
	in := bufio.NewReaderSize(r, max(16, l.Line+2)) // CR LF
	at, known, rows, missing := columns{0, 1}, false, 0, 0
	for number := 1; ; number++ {
		line, err := readLine(in, l.Line)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if number == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if len(bytes.TrimSpace(line)) > 0 {
			row, bad := parseRow(line, at)
			head := columns{}
			if bad != nil && !known {
				var err error
				if head, known, err = header(line); err != nil {
					return fmt.Errorf("line %d: %w", number, err)
				}
			}
			switch {
			case bad == nil:
				if known = true; row.missing {
					missing++
				} else {
					rows++
				}
				if err := each(row); err != nil {
					return fmt.Errorf("line %d: %w", number, err)
				}
			case known && head != (columns{}):
				at = head
			default:
				return fmt.Errorf("line %d: %w", number, bad)
			}
		}
		if err != nil {
			break
		}
	}
	switch {
	case rows == 0 && missing > 0:
		return fmt.Errorf("in none of its %d rows is there a value, which is read from column %d", missing, at.value+1)
	case rows == 0:
		return errors.New("there is no row: lines of timestamp,value are expected")
	}
	return nil
}

// readLine gives a line without its end, with io.EOF the last. It holds until the next.
func readLine(in *bufio.Reader, most int) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	full := errors.Is(err, bufio.ErrBufferFull)
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	if full || len(line) > most {
		return nil, fmt.Errorf("it has more than %d bytes, which is the limit", most)
	}
	return line, err
}

func field(line []byte, n int) (f []byte, there bool) {
	for there = true; ; n-- {
		f, line, there = cut(line, there)
		if n == 0 || !there {
			break
		}
	}
	f = bytes.TrimSpace(f)
	if len(f) >= 2 && f[0] == '"' && f[len(f)-1] == '"' {
		f = f[1 : len(f)-1]
	}
	return f, there
}

// cut takes the first field off; a line without a rest is nil then.
func cut(line []byte, there bool) (f, rest []byte, ok bool) {
	if !there || line == nil {
		return nil, nil, false
	}
	if i := bytes.IndexByte(line, ','); i >= 0 {
		return line[:i], line[i+1:], true
	}
	return line, nil, true
}

// header gives the columns of a first line that holds names.
func header(line []byte) (c columns, ok bool, err error) {
	c = columns{-1, -1}
	for i := 0; ; i++ {
		f, there := field(line, i)
		if !there {
			break
		}
		if _, err := strconv.ParseFloat(string(f), 64); err == nil {
			return columns{}, false, nil // a header holds no numbers
		}
		switch strings.ToLower(string(f)) {
		case "timestamp":
			c.time = i
		case "value":
			c.value = i
		}
	}
	switch _, two := field(line, 1); {
	case !two:
		return columns{}, false, nil
	case c.time > 0 && c.value < 0:
		return columns{}, false, fmt.Errorf("its column %d is the timestamp, and none is called value: name the one to judge so", c.time+1)
	case c.time < 0 || c.value < 0:
		c = columns{0, 1}
	}
	return c, true, nil
}

func parseRow(line []byte, at columns) (row csvRow, err error) {
	var there bool
	if row.time, there = field(line, at.time); !there {
		return row, fmt.Errorf("it has no timestamp: column %d is missing", at.time+1)
	}
	if row.text, there = field(line, at.value); !there {
		if _, more := field(line, 1); !more && bytes.ContainsAny(line, ";\t") {
			return row, errors.New("its columns are parted by semicolons or tabs: commas are read, and numbers with a decimal point")
		}
		return row, fmt.Errorf("it has no value: column %d is missing", at.value+1)
	}
	if row.at, err = instant(string(row.time)); err != nil {
		return row, err
	}
	if row.missing = isMissing(row.text); row.missing {
		return row, nil
	}
	if row.value, err = strconv.ParseFloat(string(row.text), 64); err != nil && !errors.Is(err, strconv.ErrRange) {
		return row, fmt.Errorf("value %.40q is no number; leave it empty where it is missing", row.text)
	}
	if math.IsNaN(row.value) || math.Abs(row.value) > MaxValue {
		return row, fmt.Errorf("value %.40q: infinities and what is beyond %g cannot be judged; leave it empty where it is missing", row.text, float64(MaxValue))
	}
	return row, nil
}

// isMissing says whether a value is what tools write where there is none.
func isMissing(text []byte) bool {
	switch strings.ToLower(string(text)) {
	case "", "nan", "na", "n/a", "#n/a", "null", "none":
		return true
	}
	return false
}

// MaxValue is the largest magnitude that is judged.
const MaxValue = 1e290

// timestamps that are read, besides Unix ms. A fraction of a second may follow the seconds.
const (
	plainTime   = "2006-01-02 15:04:05"
	tTime       = "2006-01-02T15:04:05"
	zonedTime   = "2006-01-02 15:04:05Z07:00" // RFC 3339 with a space
	plainMinute = "2006-01-02 15:04"
	tMinute     = "2006-01-02T15:04"
)

// leastMS is 1973: whole numbers below it are taken for seconds, and refused.
const leastMS = 100_000_000_000

func instant(s string) (int64, error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		if ms < leastMS || ms > 1<<52 {
			return 0, fmt.Errorf("timestamp %s is not Unix milliseconds of 1973 or later; seconds are to be multiplied by 1000", s)
		}
		return ms, nil
	}
	layout := plainTime
	switch {
	case len(s) > len(tTime) && (s[len(s)-1] == 'Z' || s[len(s)-6] == '+' || s[len(s)-6] == '-'):
		if layout = time.RFC3339; s[10] == ' ' {
			layout = zonedTime
		}
	case len(s) >= len(tTime) && s[10] == 'T':
		layout = tTime
	case len(s) == len(time.DateOnly):
		layout = time.DateOnly
	case len(s) == len(tMinute) && s[10] == 'T':
		layout = tMinute
	case len(s) == len(plainMinute):
		layout = plainMinute
	}
	t, err := time.Parse(layout, s)
	if err != nil {
		return 0, fmt.Errorf("timestamp %.40q is none: RFC 3339, YYYY-MM-DD hh:mm:ss in UTC or Unix milliseconds are read", s)
	}
	return t.UnixMilli(), nil
}
