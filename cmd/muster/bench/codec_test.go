//go:build linux

package bench

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The codec is measured by its own package's benchmark, which compares what was decoded; here it is run in many short
// pieces, and the least of each is taken: a piece of a millisecond is seldom interrupted, so the least is what the code
// takes, whoever else is on the machine.
const (
	codecPieces = 25
	codecPiece  = "500x"
)

var (
	decodeLine = regexp.MustCompile(`(?m)^BenchmarkDecode/(\S+?)(?:-\d+)?\s.*?([\d.]+) ns/sample\s+([\d.]+) wire-B/sample.*?(\d+) allocs/op`)
	wireLine   = regexp.MustCompile(`(\d+) steps of\s+(\d+) metrics, schema\s+(\d+): ([\d.]+) bytes a sample`)
)

func measureCodec(b testing.TB, r *report) {
	out, err := exec.CommandContext(b.Context(), "go", "test", "-run", "^TestABatchIsSmallOnTheWire$", "-v", "-bench", "^BenchmarkDecode$", "-benchmem",
		"-benchtime", codecPiece, "-count", strconv.Itoa(codecPieces), "muster.dev/proto/batch").CombinedOutput()
	if err != nil {
		b.Fatalf("the codec's benchmark: %v\n%s", err, out)
	}
	least, allocs := map[string]float64{}, map[string]string{}
	for _, m := range decodeLine.FindAllStringSubmatch(string(out), -1) {
		ns, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			b.Fatal(err)
		}
		if old, ok := least[m[1]]; !ok || ns < old {
			least[m[1]] = ns
		}
		allocs[m[1]] = m[4]
	}
	const ours = "muster"
	if least[ours] == 0 {
		b.Fatalf("the codec's benchmark says something else:\n%s", out)
	}
	f := r.add(figure{Name: "decode, 5 steps of 20 metrics with a schema, " + allocs[ours] + " allocations", Value: least[ours], Unit: "ns/sample"})
	f.atMost(9)
	f.holds(least[ours] <= 9 && allocs[ours] == "0")
	for _, other := range []struct{ key, name string }{
		{"muster-20-steps-of-5", "decode, 20 steps of 5 metrics"}, {"muster-self-contained", "decode, self-contained"}, {"muster-and-judge", "decode and judge"},
		{"vmihailenco-custom-compact", "peer: vmihailenco, hand-written, same bytes"}, {"vmihailenco-reflection-map", "peer: vmihailenco, reflection, map"},
		{"tinylib-generated-map", "peer: tinylib/msgp, generated, map"},
	} {
		if least[other.key] == 0 {
			b.Errorf("no figure for %s", other.key)
			continue
		}
		r.add(figure{Name: fmt.Sprintf("%s, %s allocations", other.name, allocs[other.key]), Value: least[other.key], Unit: "ns/sample", Floor: least[ours], Ratio: least[other.key] / least[ours]})
	}
	seen := map[string]bool{}
	for _, m := range wireLine.FindAllStringSubmatch(string(out), -1) {
		if seen[m[0]] {
			continue
		}
		seen[m[0]] = true
		bytes, err := strconv.ParseFloat(m[4], 64)
		if err != nil {
			b.Fatal(err)
		}
		form, bound := "with a schema", 4.0
		if m[3] == "0" {
			form, bound = "self-contained", 6
		}
		f := r.add(figure{Name: strings.Join([]string{"wire,", m[1], "steps of", m[2], "metrics,", form}, " "), Value: bytes, Unit: "B/sample"})
		f.atMost(bound)
	}
	if len(seen) < 4 {
		b.Errorf("%d wire sizes, want 4:\n%s", len(seen), out)
	}
}
