package deliver

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"muster.dev/proto/event"
)

var deaths = flag.Int("deaths", 3, "how often the process is killed in TestAfterManyDeathsEverythingWasTold")

// run starts a process that delivers.
func (c child) run(t *testing.T) *exec.Cmd {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env, cmd.Stderr = append(os.Environ(), envChild+"="+string(raw)), os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// kill ends it as kill -9 does.
func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// Wherever a process dies: each incident that lasts is triggered, each that was triggered is resolved in the end, and what is said last is how
// it stands.
func TestAfterManyDeathsEverythingWasTold(t *testing.T) {
	t.Parallel()
	j, p := newLog(t), newPlace(t)
	r := p.pager("pages")
	r.Rate = 1000
	dice := rand.New(rand.NewPCG(7, uint64(*deaths)))
	var open []event.Incident
	n := 0
	for range *deaths {
		for k := range 10 {
			if k < 7 && len(open) > 0 && dice.IntN(3) == 0 { // the last three last, so that there is something to say
				at := dice.IntN(len(open))
				j.Say(t, closed(open[at]))
				open = append(open[:at], open[at+1:]...)
				continue
			}
			i := incident(n, event.SeverityWarning)
			n++
			j.Say(t, i)
			open = append(open, i)
		}
		cmd := child{Brokers: j.Config.Brokers, Config: r.alone()}.run(t)
		was, some := p.times(), 1+dice.IntN(3)
		eventually(t, "a message", func() bool { return p.times() >= was+some })
		kill(t, cmd)
		// At least one of those who come next has nothing to say but what this one may have said.
		if len(open) > 0 {
			j.Say(t, closed(open[0]))
			open = open[1:]
		}
	}
	d := deliverTo(t, j, r)
	settled(t, j, "pages")
	d.stop()
	last := map[string]string{}
	for _, s := range p.pages(t) {
		action, id, _ := strings.Cut(s, " ")
		last[id] = action
	}
	for _, i := range open {
		if last[i.ID] != "trigger" {
			t.Errorf("%s is open, and the last said is %q", i.ID, last[i.ID])
		}
		delete(last, i.ID)
	}
	for id, action := range last {
		if action != "resolve" {
			t.Errorf("%s is over, and the last said is %q", id, action)
		}
	}
}

// alone is a configuration of this route.
func (r Route) alone() Config { return Config{Session: minSession, Routes: []Route{r}} }
