package page

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"muster.dev/proto/event"
)

var update = flag.Bool("update", false, "write the golden page anew")

// fill gives each field a value of its own that is not zero, and each list two elements.
func fill(v reflect.Value, next *int64) {
	*next++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), next)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(bytes.Repeat([]byte{byte(*next)}, 32))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), next)
		}
	case reflect.Uint8:
		v.SetUint(uint64(*next%255 + 1))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*next))
	case reflect.Int32, reflect.Int64:
		v.SetInt(*next)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(fmt.Sprintf("t%d", *next))
	default:
		panic("a field of kind " + v.Kind().String())
	}
}

func full() *Page {
	var p Page
	var next int64
	fill(reflect.ValueOf(&p).Elem(), &next)
	return &p
}

func encode(t *testing.T, p *Page) ([]byte, []event.Header) {
	t.Helper()
	value, headers, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return value, headers
}

func TestEveryFieldComesBack(t *testing.T) {
	for name, p := range map[string]*Page{"full": full(), "least": {N: 1, Until: 5_000}} {
		value, headers := encode(t, p)
		got, err := Decode(headers, value)
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%s: %v\n%+v\n%+v", name, err, got, p)
		}
		again, _ := encode(t, got)
		if !bytes.Equal(again, value) {
			t.Errorf("%s: the same page has other bytes", name)
		}
		if got, err := Decode(headers, p.write(true)); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%s, as arrays: %v\n%+v", name, err, got)
		}
	}
}

func TestGoldenPageDecodesForEver(t *testing.T) {
	const file = "testdata/page.hex"
	p := full()
	value, headers := encode(t, p)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(hex.EncodeToString(value)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	golden, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(headers, golden)
	if err != nil || !reflect.DeepEqual(got, p) || !bytes.Equal(golden, value) {
		t.Errorf("the form has changed (a new field: go test ./page -update): %v", err)
	}
}

func TestWhatIsNoPageIsRefused(t *testing.T) {
	value, headers := encode(t, full())
	for n := range len(value) {
		if _, err := Decode(headers, value[:n]); !errors.Is(err, ErrRefused) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
	if _, err := Decode([]event.Header{{Key: "ce_type", Value: []byte("other")}}, value); !errors.Is(err, ErrRefused) {
		t.Errorf("another type: %v", err)
	}
	for name, spoil := range map[string]func(p *Page){
		"part": func(p *Page) { p.Part = -1 }, "n": func(p *Page) { p.N = 0 }, "until": func(p *Page) { p.Until = p.From },
		"offset": func(p *Page) { p.Events = -1 }, "sum": func(p *Page) { p.Snapshot.SHA256 = []byte{1} },
		"years": func(p *Page) { p.Until = 1 << 60 },
	} {
		p := full()
		spoil(p)
		if _, _, err := p.Encode(); err == nil {
			t.Errorf("%s: written", name)
		}
		if _, err := Decode(headers, p.write(false)); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// many is a page of slots that have names to tell.
func many(slots, names int) *Page {
	p := &Page{N: 7, Until: 60_000}
	for c := range slots {
		s := Slot{Cohort: fmt.Sprintf("cohort-%06d", c), Region: "north", At: 1_800_000_000_000, Interval: 60_000, Whole: true, Members: 900, Expected: 800, Missing: uint32(names)}
		for d := range names {
			s.Gone = append(s.Gone, Gone{ID: fmt.Sprintf("device-%06d-%06d", c, d), No: uint32(c*names + d), Since: 1_800_000_000_000, Every: 60_000, Phi: 50_000})
		}
		p.Slots = append(p.Slots, s)
	}
	return p
}

func TestAPageThatIsTooLargeNamesFewer(t *testing.T) {
	for _, c := range []struct{ slots, names, left int }{{3, 1_000, 3}, {40, 1_000, 40}, {9_000, 3, 9_000}, {40_000, 0, 10_000}} {
		p := many(c.slots, c.names)
		want := p.write(true)
		value, headers := encode(t, p)
		if len(value) > MaxValue {
			t.Fatalf("%+v: %d bytes", c, len(value))
		}
		got, err := Decode(headers, value)
		if err != nil || len(got.Slots) != c.left {
			t.Fatalf("%+v: %v, %d slots", c, err, len(got.Slots))
		}
		named := 0
		for i, s := range got.Slots {
			named += len(s.Gone)
			if s.Missing != uint32(c.names) || s.Cohort != p.Slots[i].Cohort {
				t.Fatalf("%+v: %+v", c, s)
			}
		}
		if int(got.Cut) != c.slots*c.names-named+c.slots-len(got.Slots) {
			t.Errorf("%+v: %d were named, %d are said to be cut", c, named, got.Cut)
		}
		if !bytes.Equal(p.write(true), want) {
			t.Errorf("%+v: the page itself was changed", c)
		}
		if fits := p.Fit(); fits.Fit() != fits {
			t.Errorf("%+v: what fits is cut again", c)
		}
	}
}

// Whoever adds up arms would be wrong for good by one that is missing.
func TestArmsAreNeverLeftOut(t *testing.T) {
	arms := func(n int) *Page {
		p := many(5_000, 3)
		for i := range n {
			a := Arm{Rollout: strings.Repeat("r", 63), Stage: 16, Stratum: fmt.Sprintf("%0128d", i), At: 1_800_000_000_000, RiskT: 1<<32 - 1, RiskC: 1<<32 - 1, FailT: 1, FailC: 1,
				ExposureMS: -1 << 62, InstallOK: 1<<32 - 1, InstallBad: 1<<32 - 1, Paper: 1<<32 - 1, Postponed: 1<<32 - 1, Assigned: 1<<32 - 1, Entered: 1<<32 - 1, SoakedUntil: 1_800_000_000_000}
			for d := range 2 {
				a.Failed = append(a.Failed, Gone{ID: fmt.Sprintf("%060d-%d", i, d), No: 1 << 31, Since: 1_800_000_000_000, Kind: "boot-loop"})
			}
			p.Arms = append(p.Arms, a)
			p.Ranks = append(p.Ranks, Rank{Rollout: a.Rollout, Stratum: a.Stratum, Metric: "battery_mv", ID: a.Stratum, Micro: 1 << 62})
		}
		return p
	}
	p := arms(2_000)
	value, headers := encode(t, p)
	got, err := Decode(headers, value)
	if err != nil || len(got.Arms) != len(p.Arms) {
		t.Fatalf("%v, %d arms of %d", err, len(got.Arms), len(p.Arms))
	}
	for i, a := range got.Arms {
		a.Failed = p.Arms[i].Failed
		if !reflect.DeepEqual(a, p.Arms[i]) {
			t.Fatalf("%+v\n%+v", a, p.Arms[i])
		}
	}
	if _, _, err := arms(20_000).Encode(); err == nil {
		t.Error("a page that has no room for its arms is written")
	}
}

func FuzzDecode(f *testing.F) {
	p := full()
	for _, arrays := range []bool{false, true} {
		f.Add(p.write(arrays))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := Decode(nil, value)
		if err != nil {
			if !errors.Is(err, ErrRefused) {
				t.Errorf("%v", err)
			}
			return
		}
		first, _, err := got.Encode()
		if err != nil {
			return // it fits only as it came
		}
		if containers(first) > len(first)/leastThing+fewThings {
			return // what it had beside was passed over
		}
		again, err := Decode(nil, first)
		if err != nil {
			t.Fatalf("what was read cannot be read when written: %v", err)
		}
		second, _, err := again.Encode()
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("what was read is written otherwise: %v", err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	p := many(200, 20)
	b.ReportAllocs()
	for b.Loop() {
		value, _, err := p.Encode()
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(value)))
	}
}
