package batch_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"muster.dev/proto/batch"
	"muster.dev/proto/record"
)

// TestWhatIsBuiltComesBack is decode(encode(x)) = x for random messages.
func TestWhatIsBuiltComesBack(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	b := batch.NewBuilder()
	var got batch.Batch
	for round := range 400 {
		b.Reset()
		want := map[string]string{}
		steps, metrics := 1+r.IntN(90), 1+r.IntN(20)
		boot, seq := r.Uint32(), r.Uint64N(batch.MaxSeq+1)
		b.SetKey(boot, seq)
		for i := range metrics {
			kind, scale, size := r.IntN(4), uint8(r.IntN(10)), uint(r.IntN(63))
			for _, step := range r.Perm(steps) {
				if r.IntN(5) == 0 && step > 0 {
					continue
				}
				ts, name := at+int64(step)*int64(1+i%2), fmt.Sprintf("m%d", i)
				n := int64(r.Uint64() >> size >> 1)
				if r.IntN(2) == 0 {
					n = -n
				}
				key := fmt.Sprint(ts, name)
				switch kind {
				case 0:
					b.SetScaled(ts, name, n, scale)
					want[key] = fmt.Sprint("int", n, scale)
				case 1:
					v := math.Float64frombits(r.Uint64())
					if v != v {
						v = 1
					}
					b.SetFloat(ts, name, v)
					want[key] = fmt.Sprint("float", math.Float64bits(v))
				case 2:
					b.SetBool(ts, name, n&1 == 0)
					want[key] = fmt.Sprint("bool", n&1 == 0)
				default:
					v := fmt.Sprint("tëxt", n)
					b.SetText(ts, name, v)
					want[key] = "text" + v
				}
			}
		}
		p, err := b.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Decode(p); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if !got.Keyed || got.Boot != boot || got.Seq != seq || got.Values != len(want) {
			t.Fatalf("round %d: %d values of %d", round, got.Values, len(want))
		}
		for i := range got.Columns {
			c := &got.Columns[i]
			word := 0
			for step, ts := range got.Times {
				if !c.Has(step) {
					continue
				}
				var said string
				switch c.Kind {
				case batch.Int:
					said = fmt.Sprint("int", c.Ints[word], c.Scale)
				case batch.Float:
					said = fmt.Sprint("float", math.Float64bits(c.Floats()[word]))
				case batch.Bool:
					said = fmt.Sprint("bool", c.Ints[word] != 0)
				default:
					said = "text" + string(got.Text(c, word))
				}
				if key := fmt.Sprint(ts, string(c.Name)); want[key] != said {
					t.Fatalf("round %d: %s was %s, is %s", round, key, want[key], said)
				}
				word++
			}
		}
	}
}

func TestDecodingAllocatesNothingOnceGrown(t *testing.T) {
	p, small := fleetBatch(t, 20, 20, 0, 1), compact(0x91, 0x93, 0xa1, 'a', 0, 0x91, 5)
	var b batch.Batch
	var faults []batch.Fault
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range [][]byte{p, small} {
			if err := b.Decode(p); err != nil {
				t.Error(err)
			}
			faults = b.Judge(faults[:0], at+600_000, false)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestAStepOutOfTimeFaultsItsValues(t *testing.T) {
	const day = 86_400_000
	past, future := record.MaxSkewPast.Milliseconds(), record.MaxSkewFuture.Milliseconds()
	for _, c := range []struct {
		name    string
		ts, now int64
		history bool
		want    string
	}{
		{"now", at, at, false, ""},
		{"thirty days ago", at - past, at, false, ""},
		{"a millisecond more", at - past - 1, at, false, batch.ReasonTimePast},
		{"lifted by history", at - past - 1, at, true, ""},
		{"ten minutes ahead", at + future, at, false, ""},
		{"a millisecond more", at + future + 1, at, false, batch.ReasonTimeFuture},
		{"history does not lift the future", at + day, at, true, batch.ReasonTimeFuture},
		{"1970", 0, at, false, batch.ReasonTimePast},
		{"1970 with history", 0, at, true, ""},
		{"1969 with history", -1, at, true, batch.ReasonTimePast},
		{"2262", 9_223_372_036_855, at, false, batch.ReasonTimeFuture},
		{"beyond the store, whatever the record says", batch.MaxTime + 1, batch.MaxTime, true, batch.ReasonTimeFuture},
		{"a record of the year 292 million", batch.MaxTime + 1, math.MaxInt64, true, batch.ReasonTimeFuture},
	} {
		b := batch.NewBuilder()
		b.SetInt(c.ts, "a", 1)
		b.SetFloat(c.ts, "b", math.NaN())
		p, err := b.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got batch.Batch
		if err := got.Decode(p); err != nil {
			t.Fatal(err)
		}
		faults := got.Judge(nil, c.now, c.history)
		switch {
		case c.want == "" && (len(faults) != 1 || faults[0].Reason != batch.ReasonNaN),
			c.want != "" && (len(faults) != 2 || faults[0].Reason != c.want || faults[1].Reason != c.want):
			t.Errorf("%s: %+v, want %q", c.name, faults, c.want)
		}
	}
}

func TestAMaskHoldsTheFaults(t *testing.T) {
	b := batch.NewBuilder()
	for step := range 130 {
		v := float64(step) + 0.5
		if step%64 == 1 {
			v = math.Inf(1)
		}
		b.SetFloat(at+int64(step), "a", v)
		b.SetInt(at+int64(step), "b", 1)
	}
	p, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	var got batch.Batch
	if err := got.Decode(p); err != nil {
		t.Fatal(err)
	}
	var m batch.Mask
	m.Set(&got, got.Judge(nil, at, false))
	if m.Column(1) != nil || len(m.Column(0)) != 3 {
		t.Fatalf("%v %v", m.Column(0), m.Column(1))
	}
	for step := range 130 {
		if set := m.Column(0)[step/64]>>(step%64)&1 == 1; set != (step%64 == 1) {
			t.Errorf("step %d: %v", step, set)
		}
	}
	m.Set(&got, nil)
	if m.Column(0) != nil {
		t.Error("an old fault stayed")
	}
}

func TestABuilderRemembersWhatWasWrong(t *testing.T) {
	for name, set := range map[string]func(*batch.Builder){
		"a name":     func(b *batch.Builder) { b.SetInt(at, "Temp", 1) },
		"a scale":    func(b *batch.Builder) { b.SetScaled(at, "a", 1, 10) },
		"a seq":      func(b *batch.Builder) { b.SetKey(1, batch.MaxSeq+1) },
		"a firmware": func(b *batch.Builder) { b.SetFirmware("\n") },
		"a time":     func(b *batch.Builder) { b.SetInt(math.MaxInt64, "a", 1) },
		"twice":      func(b *batch.Builder) { b.SetInt(at, "a", 1); b.SetInt(at, "a", 1) },
		"nothing":    func(*batch.Builder) {},
	} {
		b := batch.NewBuilder()
		set(b)
		if p, err := b.AppendTo([]byte{9}); err == nil || len(p) != 1 {
			t.Errorf("%s: % x, %v", name, p, err)
		}
		b.Reset()
		b.SetInt(at, "a", 1)
		if _, err := b.AppendTo(nil); err != nil || b.Err() != nil {
			t.Errorf("%s: after Reset %v", name, err)
		}
	}
}

func TestAMetricOutsideTheSchemaMakesTheMessageSelfContained(t *testing.T) {
	b := batch.NewBuilder()
	b.SetSchema(4, []string{"x", "y"})
	b.SetInt(at, "y", 1)
	b.SetInt(at, "z", 2)
	p, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	var got batch.Batch
	if err := got.Decode(p); err != nil || got.Schema != 0 || string(got.Columns[1].Name) != "z" {
		t.Fatalf("%v %d %q", err, got.Schema, got.Columns[1].Name)
	}
}
