package series

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"muster.dev/proto/batch"
)

// Layout is how a time is written in a file, in UTC; a fraction of up to three digits may follow.
const Layout = "2006-01-02 15:04:05"

// maxRows bounds what is held in memory, 16 bytes a row.
const maxRows = 20_000_000

// Series is one metric's recorded values, in the order of the file.
type Series struct {
	Metric string
	Times  []int64 // Unix milliseconds
	Values []float64

	graded bool // scale and exact are known
	scale  uint8
	exact  bool
}

// ReadFile reads a file; its name without .csv is the metric's unless metric names another.
func ReadFile(path, metric string) (*Series, error) {
	if metric == "" {
		var err error
		if metric, err = MetricName(path); err != nil {
			return nil, err
		}
	} else if !validMetric(metric) {
		return nil, fmt.Errorf("metric name %q: want [a-z_][a-z0-9_]{0,%d}", metric, batch.MaxMetricName-1)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the series: %w", err)
	}
	defer f.Close()
	s, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s.Metric = metric
	return s, nil
}

// Read reads `timestamp,value` rows under that header. Errors name the line.
func Read(r io.Reader) (*Series, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord, in.ReuseRecord = 2, true
	head, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: want a header line `timestamp,value` and rows under it")
	}
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if head[0] != "timestamp" || head[1] != "value" {
		return nil, fmt.Errorf("line 1: the header is %q: want timestamp,value", strings.Join(head, ","))
	}
	s := &Series{}
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err // says line and column itself
		}
		line, _ := in.FieldPos(0)
		at, err := time.ParseInLocation(Layout, row[0], time.UTC)
		if err != nil {
			return nil, fmt.Errorf("line %d: time %q: want UTC as %q", line, row[0], Layout)
		}
		if at.Nanosecond()%int(time.Millisecond) != 0 {
			return nil, fmt.Errorf("line %d: time %q: finer than a millisecond", line, row[0])
		}
		v, err := strconv.ParseFloat(row[1], 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("line %d: value %q: want a finite number", line, row[1])
		}
		if len(s.Times) == maxRows {
			return nil, fmt.Errorf("line %d: more than %d rows: split the file", line, maxRows)
		}
		s.Times, s.Values = append(s.Times, at.UnixMilli()), append(s.Values, v)
	}
	if len(s.Times) == 0 {
		return nil, errors.New("no rows under the header")
	}
	return s, nil
}

// MetricName makes a metric's name of a file's: without .csv, in lower case, anything else than letters and
// digits an underscore.
func MetricName(path string) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(path)), ".csv")
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
	if name != "" && name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	if !validMetric(name) {
		return "", fmt.Errorf("the file's name makes the metric %q, which is empty or longer than %d: name one with --metric", name, batch.MaxMetricName)
	}
	return name, nil
}

func validMetric(s string) bool {
	if s == "" || len(s) > batch.MaxMetricName || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
