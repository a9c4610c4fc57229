package audit

import (
	"fmt"

	"muster.dev/proto/event"
)

// granted is about the agent, and about each device that is named: of whom many are named, only one that is looked for.
func (r *Reader) granted(b event.ActingGranted) about {
	a := about{devices: []string{r.name(b.Agent)}, cohort: b.Cohort}
	for _, no := range b.Devices {
		if name := r.name(no); len(b.Devices) == 1 || name == r.follow {
			a.devices = append(a.devices, name)
		}
	}
	switch n := len(b.Devices); {
	case n == 1:
		a.subject = "for " + r.name(b.Devices[0])
	case n > 1:
		a.subject = fmt.Sprintf("for %d devices", n)
	}
	switch {
	case b.Cohort != "" && a.subject != "":
		a.subject += " and cohort " + b.Cohort
	case b.Cohort != "":
		a.subject = "for cohort " + b.Cohort
	}
	return a
}
