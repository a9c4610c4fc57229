package audit

import (
	"fmt"

	"muster.dev/proto/event"
)

// assigned is about a rollout, and about the device that is looked for if it is among the many.
func (r *Reader) assigned(b event.RolloutAssigned) about {
	a := about{subject: fmt.Sprintf("rollout %s, stage %d: %d devices", b.Rollout, b.Stage, len(b.Devices))}
	if b.Stage == 0 {
		a.subject = fmt.Sprintf("rollout %s, control: %d devices", b.Rollout, len(b.Devices))
	}
	if r.follow == "" {
		return a
	}
	for _, no := range b.Devices {
		if name := r.name(no); name == r.follow {
			a.devices = append(a.devices, name)
			break
		}
	}
	return a
}
