package ring

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const childVar = "MUSTER_TEST_RING"

// child puts values for ever, and says each when it is kept, or when it was let go.
func child() {
	r, err := Open(os.Getenv(childVar), Config{Bytes: 8 << 20, Segment: MinSegment})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	start := r.Counts().Found
	for i := 0; ; i++ {
		v := fmt.Sprintf("%d.%d.%s", start, i, strings.Repeat("k", i%700))
		if _, err := r.Put([]byte(v), 0); err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println("kept", v)
	}
}

// TestAKilledProcessLosesNothingThatItKept kills a writer again and again, each time in the midst of it.
func TestAKilledProcessLosesNothingThatItKept(t *testing.T) {
	dir := t.TempDir()
	var kept []string
	for round := range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVar+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for want := 20 + rand.IntN(200); lines.Scan(); want-- {
			v, ok := strings.CutPrefix(lines.Text(), "kept ")
			if !ok {
				t.Errorf("round %d: %s", round, lines.Text())
			}
			kept = append(kept, v)
			if want == 0 {
				_ = cmd.Process.Kill() // what it says until then still comes
			}
		}
		_ = cmd.Wait()
	}
	r := must(t, dir, Config{Bytes: 8 << 20, Segment: MinSegment})
	there := map[string]int{}
	for _, v := range drain(t, r) {
		there[v]++
	}
	for _, v := range kept {
		if there[v] != 1 {
			t.Errorf("%.20q is there %d times", v, there[v])
		}
	}
	if c := r.Counts(); c.Corrupt != (Lost{}) || c.Dropped != (Lost{}) {
		t.Errorf("%+v", c)
	}
}
