package input

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"muster.dev/proto/event"
)

// MaxLine bounds a line in bytes.
const MaxLine = 64 << 10

// line is what one line says: readings, or an event.
type line struct {
	at     time.Time
	values map[string]any
	event  *event.Device
}

// parse reads a line. Whether names and values can be sent is for who takes them to say.
func parse(text string) (line, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "{") {
		return parseJSON(text)
	}
	words := strings.Fields(text)
	if len(words) < 2 || len(words) > 3 {
		return line{}, errors.New("want: metric value [time], or a JSON object")
	}
	l := line{values: map[string]any{words[0]: parseValue(words[1])}}
	if len(words) == 3 {
		at, err := parseTime(words[2])
		if err != nil {
			return line{}, err
		}
		l.at = at
	}
	return l, nil
}

func parseValue(s string) any {
	switch s {
	case "true":
		return true
	case "false":
		return false
	}
	if v, ok := parseNumber(s); ok {
		return v
	}
	return s
}

// parseNumber takes decimals alone: what else strconv takes (0x1p-2, inf, 1_000) is a text to who writes it.
func parseNumber(s string) (any, bool) {
	if strings.Trim(s, "0123456789+-.eE") != "" {
		return nil, false
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// earliest is the least time in Unix milliseconds that is taken: a smaller number is seconds.
const earliest = 100_000_000_000

func parseTime(s string) (time.Time, error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		if ms < earliest {
			return time.Time{}, fmt.Errorf("time %d: want Unix milliseconds", ms)
		}
		return time.UnixMilli(ms), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("time %.40q: want Unix milliseconds, or RFC 3339", s)
	}
	return t, nil
}

func parseJSON(text string) (line, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var all map[string]any
	if err := d.Decode(&all); err != nil {
		return line{}, fmt.Errorf("JSON: %w", err)
	}
	if rest := text[d.InputOffset():]; strings.TrimSpace(rest) != "" {
		return line{}, errors.New("JSON: something follows the object")
	}
	var l line
	switch ts := all["ts"].(type) {
	case nil:
	case json.Number:
		at, err := parseTime(ts.String())
		if err != nil {
			return line{}, err
		}
		l.at = at
	case string:
		at, err := parseTime(ts)
		if err != nil {
			return line{}, err
		}
		l.at = at
	default:
		return line{}, errors.New("ts: want Unix milliseconds, or RFC 3339")
	}
	delete(all, "ts")
	if kind, ok := all["type"].(string); ok {
		delete(all, "type")
		return l, l.anEvent(kind, all)
	}
	metrics, ok := all["metrics"].(map[string]any)
	if !ok || len(all) != 1 || len(metrics) == 0 {
		return line{}, errors.New(`JSON: want {"metrics":{...}} or {"type":"crash", ...}, each with "ts" or without`)
	}
	l.values = metrics
	for metric, v := range metrics {
		value, err := plain(metric, v)
		if err != nil {
			return line{}, err
		}
		metrics[metric] = value
	}
	return l, nil
}

func (l *line) anEvent(kind string, fields map[string]any) error {
	e := &event.Device{Type: kind, Fields: map[string]any{}}
	if !l.at.IsZero() {
		e.TS = l.at.UnixMilli()
	}
	for name, v := range fields {
		if v == nil {
			continue
		}
		value, err := plain(name, v)
		if err != nil {
			return err
		}
		e.Fields[name] = value
	}
	l.event = e
	return nil
}

func plain(name string, v any) (any, error) {
	switch v := v.(type) {
	case bool, string:
		return v, nil
	case json.Number:
		if n, ok := parseNumber(v.String()); ok {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%.64q: want a number, true, false or a text", name)
}
