package batch_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster.dev/proto/batch"
)

// A golden file has the bytes in hex, one element or more a line with a remark behind #, then a line "--", then what
// they mean. Devices in the field send these bytes: they decode to this for ever. A file may be added, never changed.
type golden struct {
	name  string
	bytes []byte
	means string
}

func goldenBatches(tb testing.TB) []golden {
	tb.Helper()
	files, err := filepath.Glob("testdata/golden/*.batch")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no golden files: %v", err)
	}
	var out []golden
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		body, means, ok := strings.Cut(string(text), "\n--\n")
		if !ok {
			tb.Fatalf("%s has no line --", file)
		}
		var digits strings.Builder
		for line := range strings.Lines(body) {
			line, _, _ = strings.Cut(line, "#")
			digits.WriteString(strings.Join(strings.Fields(line), ""))
		}
		p, err := hex.DecodeString(digits.String())
		if err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		out = append(out, golden{filepath.Base(file), p, means})
	}
	return out
}

// describe says what a batch means, a line a value.
func describe(b *batch.Batch) string {
	var s strings.Builder
	fmt.Fprintf(&s, "keyed=%v boot=%d seq=%d fw=%q schema=%d values=%d\n", b.Keyed, b.Boot, b.Seq, b.Firmware, b.Schema, b.Values)
	faults := map[[2]int]string{}
	for _, f := range b.Judge(nil, b.Times[len(b.Times)-1], false) {
		faults[[2]int{f.Column, f.Step}] = " FAULT " + f.Reason
	}
	for i, c := range b.Columns {
		for step, at := range b.Times {
			if !c.Has(step) {
				continue
			}
			name := string(c.Name)
			if c.Name == nil {
				name = fmt.Sprintf("#%d", c.Index)
			}
			fmt.Fprintf(&s, "%d %s %s/%d %s%s\n", at, name, c.Kind, c.Scale, b.AppendValue(nil, i, step), faults[[2]int{i, step}])
		}
	}
	return s.String()
}

func TestGoldenBytesDecodeForEver(t *testing.T) {
	for _, g := range goldenBatches(t) {
		t.Run(g.name, func(t *testing.T) {
			var b batch.Batch
			if err := b.Decode(g.bytes); err != nil {
				t.Fatal(err)
			}
			if got := describe(&b); got != g.means {
				t.Errorf("means now\n%s\nand meant\n%s", got, g.means)
			}
			if err := reference(&b, g.bytes); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestABuilderWritesTheGoldenBytes(t *testing.T) {
	for name, fill := range map[string]func(*batch.Builder){
		"self-contained.batch": fillSelfContained,
		"schema.batch":         fillSchema,
	} {
		b := batch.NewBuilder()
		fill(b)
		p, err := b.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range goldenBatches(t) {
			if g.name == name && !bytes.Equal(p, g.bytes) {
				t.Errorf("%s is now % x", name, p)
			}
		}
	}
}

func fillSelfContained(b *batch.Builder) {
	b.SetKey(3, 17)
	b.SetFirmware("2.4.1")
	for step := range int64(3) {
		b.SetScaled(at+step*10_000, "temp_c", 215+step, 1)
		b.SetInt(at+step*10_000, "uptime_s", 86_400+10*step)
	}
	b.SetBool(at, "door_open", true)
	b.SetText(at+10_000, "mode", "heizen ö")
	b.SetFloat(at+20_000, "drift", 0.1234567890123)
}

func fillSchema(b *batch.Builder) {
	b.SetKey(3, 18)
	b.SetSchema(12, []string{"temp_c", "rssi_dbm", "heap_free"})
	for step := range int64(3) {
		b.SetInt(at+step*10_000, "rssi_dbm", -70-step)
		b.SetInt(at+step*10_000, "heap_free", 142_336-100*step)
		if step != 1 {
			b.SetScaled(at+step*10_000, "temp_c", 215, 1)
		}
	}
}
