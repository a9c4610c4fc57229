package evaluate

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"muster.dev/fleet/scenario"
)

// Outcome is what a scenario came to, and how much of it there was.
type Outcome struct {
	Scenario    string
	Seed        uint64
	Judgement   Judgement
	CohortWeeks float64
	Records     int64
	Took        time.Duration
}

// Missed counts what had to be told and was not.
func (o *Outcome) Missed() (n int) {
	for _, a := range o.Judgement.Answers {
		if a.Must && len(a.Found) == 0 {
			n++
		}
	}
	return n
}

// Table prints outcomes for people: a line for each thing to be told, and one for what is false.
func Table(w io.Writer, all []Outcome) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(cells ...string) { _, _ = fmt.Fprintln(t, strings.Join(cells, "\t")) }
	row("SCENARIO", "TO BE TOLD", "FOUND", "AFTER", "INTERVALS", "CAUSE", "INCIDENTS", "FALSE", "COHORT-WEEKS", "FALSE/COHORT-WEEK")
	var must, found, right, causes, falses, many int
	var weeks float64
	for i := range all {
		o := &all[i]
		falses, weeks = falses+len(o.Judgement.False), weeks+o.CohortWeeks
		tail := []string{fmt.Sprint(len(o.Judgement.False)), fmt.Sprintf("%.1f", o.CohortWeeks), fmt.Sprintf("%.2f", float64(len(o.Judgement.False))/o.CohortWeeks)}
		if !slices.ContainsFunc(o.Judgement.Answers, shown) {
			row(append([]string{o.Scenario, "nothing", "", "", "", "", ""}, tail...)...)
			continue
		}
		name := o.Scenario
		for _, a := range o.Judgement.Answers {
			if !shown(a) {
				continue
			}
			if a.Must {
				must++
			}
			cells := []string{name, a.What, "no", "", "", "", "0"}
			if !a.Must {
				cells[2] = "-"
			}
			if len(a.Found) > 0 {
				if a.Must {
					found++
				}
				first := &o.Judgement.Told[a.Found[0]]
				cells[2], cells[3] = "yes", scenario.FormatSpan(a.Delay.Round(time.Second))
				if a.Interval > 0 {
					cells[4] = fmt.Sprintf("%.1f", float64(a.Delay.Milliseconds())/float64(a.Interval))
				}
				cells[5] = first.Cause
				if len(a.Causes) > 0 && a.Must {
					causes++
					if a.Cause {
						right++
					} else {
						cells[5] += " (" + strings.Join(a.Causes, " or ") + ")"
					}
				}
			}
			if n := len(a.Found) + len(a.Beside); n > 0 {
				cells[6] = fmt.Sprint(n)
				many += a.TooMany()
			}
			row(append(cells, tail...)...)
			name, tail = "", []string{"", "", ""}
		}
	}
	rate := 0.
	if weeks > 0 {
		rate = float64(falses) / weeks
	}
	row("all", fmt.Sprintf("%d must be told", must), fmt.Sprintf("%d", found), "", "", fmt.Sprintf("%d of %d right", right, causes), fmt.Sprintf("%d too many", many), fmt.Sprint(falses), fmt.Sprintf("%.1f", weeks), fmt.Sprintf("%.2f", rate))
	return t.Flush()
}

// shown leaves out what need not be told and was not.
func shown(a Answer) bool { return a.Must || len(a.Found)+len(a.Beside) > 0 }
