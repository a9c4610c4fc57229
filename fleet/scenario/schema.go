package scenario

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

var (
	timeType  = reflect.TypeFor[time.Time]()
	spanType  = reflect.TypeFor[time.Duration]()
	shareType = reflect.TypeFor[Share]()
	rateType  = reflect.TypeFor[Rate]()
	ppmType   = reflect.TypeFor[PPM]()
	hertzType = reflect.TypeFor[Hertz]()
	clockType = reflect.TypeFor[Clocktime]()
)

// field is one key of the schema, from a field's tags.
type field struct {
	key      string
	index    []int
	typ      reflect.Type // pointers taken off
	need     bool
	kind     bool   // one of a fault's kinds
	want     string // bounds
	form     string // of a text
	fallback string
}

// fieldsOf lists a mapping's keys; what is inlined stands among them.
func fieldsOf(t reflect.Type) (out []field) {
	for i := range t.NumField() {
		sf := t.Field(i)
		key := sf.Tag.Get("yaml")
		switch key {
		case "-":
			continue
		case ",inline":
			for _, f := range fieldsOf(sf.Type) {
				f.index = append([]int{i}, f.index...)
				out = append(out, f)
			}
			continue
		}
		typ := sf.Type
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		out = append(out, field{key: key, index: []int{i}, typ: typ, need: sf.Tag.Get("need") == "yes", kind: sf.Tag.Get("kind") == "yes",
			want: sf.Tag.Get("want"), form: sf.Tag.Get("form"), fallback: sf.Tag.Get("default")})
	}
	return out
}

// fillDefaults sets what a key that is not there stands for.
func fillDefaults(v reflect.Value, f field) {
	if v.Kind() == reflect.Struct && v.Type() != timeType {
		for _, inner := range fieldsOf(v.Type()) {
			fillDefaults(v.FieldByIndex(inner.index), inner)
		}
		return
	}
	if f.fallback != "" {
		setScalar(v, f.fallback, f)
	}
}

// quantity reads a text as the number that a type holds: what bounds are compared by.
func quantity(t reflect.Type, s string) (float64, error) {
	span := func(d time.Duration, err error) (float64, error) { return float64(d), err }
	switch t {
	case spanType:
		return span(ParseSpan(s))
	case clockType:
		return span(parseClocktime(s))
	case timeType:
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return 0, fmt.Errorf("is no time: write it as 2026-01-05T00:00:00Z")
		}
		return float64(at.Unix()), nil
	case shareType:
		return parseShare(s)
	case rateType:
		return parseRate(s)
	case ppmType:
		return parseUnit("ppm", "20ppm")(s)
	case hertzType:
		return parseUnit("Hz", "100Hz")(s)
	}
	switch t.Kind() {
	case reflect.Float64:
		return parseNumber(s)
	case reflect.Int:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("is no whole number")
		}
		return float64(n), nil
	}
	return 0, fmt.Errorf("is no number")
}

// setScalar reads a text into a value. What it returns is what is wrong with it.
func setScalar(v reflect.Value, s string, f field) string {
	t := v.Type()
	switch t.Kind() {
	case reflect.String:
		if what := f.wrong(s); what != "" {
			return what
		}
		v.SetString(s)
		return ""
	case reflect.Bool:
		if s != "true" && s != "false" {
			return "is neither true nor false"
		}
		v.SetBool(s == "true")
		return ""
	case reflect.Uint64:
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return "is no whole number from 0 to 18446744073709551615"
		}
		v.SetUint(n)
		return ""
	}
	n, err := quantity(t, s)
	if err != nil {
		return err.Error()
	}
	if lo, hi, ok := f.bounds(); ok && (n < lo || n > hi) {
		if n < 0 && lo >= 0 {
			return "is negative"
		}
		return "is out of range"
	}
	switch {
	case t == timeType:
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return "is no time"
		}
		v.Set(reflect.ValueOf(at.UTC().Truncate(time.Millisecond)))
	case t.Kind() == reflect.Float64:
		v.SetFloat(n)
	case t == spanType:
		d, err := ParseSpan(s)
		if err != nil {
			return err.Error()
		}
		v.SetInt(int64(d))
	default:
		v.SetInt(int64(n))
	}
	return ""
}

// bounds of a number, of a text's length or of a list's.
func (f field) bounds() (lo, hi float64, ok bool) {
	want := f.want
	if f.typ == shareType && want == "" {
		want = "0..1"
	}
	if want == "" {
		return 0, 0, false
	}
	t := f.typ
	if t.Kind() == reflect.Slice || t.Kind() == reflect.String {
		t = reflect.TypeFor[int]()
	}
	from, to, _ := strings.Cut(want, "..")
	lo, hi = math.Inf(-1), math.Inf(1)
	if from != "" {
		lo, _ = quantity(t, from) // a test holds the tags to what can be read
	}
	if to != "" {
		hi, _ = quantity(t, to)
	}
	return lo, hi, true
}

var (
	versionForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}$`)
	patternForm = regexp.MustCompile(`^([a-z0-9][a-z0-9._-]*)?%(0[1-9])?d[a-z0-9._-]*$`)
)

// wrong says what is wrong with a text.
func (f field) wrong(s string) string {
	if lo, hi, ok := f.bounds(); ok && (float64(len(s)) < lo || float64(len(s)) > hi) {
		return fmt.Sprintf("has %d bytes", len(s))
	}
	ok := true
	switch f.form {
	case "":
		if strings.IndexFunc(s, func(r rune) bool { return r < 0x20 && r != '\n' || r == 0x7f }) >= 0 {
			return "holds a control character"
		}
	case "name":
		ok = event.Name(s)
	case "metric":
		ok = batch.MetricName(s)
	case "version":
		ok = versionForm.MatchString(s)
	case "pattern":
		ok = patternForm.MatchString(s) && event.Name(fmt.Sprintf(s, MaxDevices))
	default:
		ok = slices.Contains(strings.Split(f.form, "|"), s)
	}
	if !ok {
		return "will not do"
	}
	return ""
}

// syntax says how a value is written.
func (f field) syntax() string {
	switch f.form {
	case "":
	case "name":
		return "name: a-z 0-9, after the first also . _ -, at most 63"
	case "metric":
		return "metric: a-z _, then a-z 0-9 _, at most 63"
	case "version":
		return "version: letters, digits and . + _ -, at most 64"
	case "pattern":
		return "pattern: a name with one %d or %04d in it"
	default:
		return strings.Join(strings.Split(strings.TrimPrefix(f.form, "|"), "|"), ", ")
	}
	names := map[reflect.Type]string{timeType: "time", spanType: "span", shareType: "share", rateType: "rate", ppmType: "ppm", hertzType: "Hz", clockType: "time of day"}
	if name, ok := names[f.typ]; ok {
		return name
	}
	if f.typ == nil {
		return "text"
	}
	switch f.typ.Kind() {
	case reflect.Int, reflect.Uint64:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Bool:
		return "true, false"
	case reflect.Slice:
		return "list"
	case reflect.Struct:
		return "mapping"
	}
	return "text"
}

// limits says the bounds as they stand in the tag.
func (f field) limits() string {
	if f.want == "" {
		return ""
	}
	from, to, _ := strings.Cut(f.want, "..")
	of := ""
	if f.typ != nil && f.typ.Kind() == reflect.Slice {
		of = " entries"
	} else if f.typ != nil && f.typ.Kind() == reflect.String {
		of = " bytes"
	}
	switch {
	case from == "" || from == "0" && of != "":
		return "at most " + to + of
	case to == "":
		return "at least " + from + of
	}
	return from + " to " + to + of
}

func (f field) wants() string {
	if limits := f.limits(); limits != "" {
		return "want " + f.syntax() + ", " + limits
	}
	return "want " + f.syntax()
}

func (f field) do() string {
	switch {
	case f.key == "devices" && f.need:
		return "say how many devices there are, at least one"
	case f.typ == spanType:
		return "write it as 90s, 5m, 2h, 1d or 2w"
	}
	return ""
}
