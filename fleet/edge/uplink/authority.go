package uplink

import (
	"fmt"
	"time"

	"muster.dev/proto/identity"
)

// forbid notes that the edge may not speak for a device, and lets go of what is in hand of it when it was kept for long enough.
func (u *Uplink) forbid(l *lane, a answer, now time.Time) Refused {
	if l.since.IsZero() {
		l.since = now
		u.s.Log.Warn("the gateway does not let the edge speak for a device", "device", string(l.device), "reason", a.reason, "detail", a.detail)
	}
	l.why = fmt.Sprintf("the gateway does not let this edge speak for device %s: %s", l.device, a.detail)
	l.due = now.Add(u.jitter(u.cfg.AskAgain))
	lost := Refused{Device: l.device, Status: a.status, Reason: a.reason, Detail: a.detail}
	// Of a device in quarantine the gateway says to keep what is there.
	if a.reason == "quarantined" || now.Sub(l.since) < u.cfg.Grace {
		return lost
	}
	lost.Messages = len(l.queue) + len(l.aside)
	for _, it := range l.queue {
		delete(u.suspects, it.id)
		u.letGo(it.id)
	}
	for _, id := range l.aside {
		u.letGo(id)
	}
	u.inHand -= len(l.queue)
	u.aside -= len(l.aside)
	l.queue, l.aside = nil, nil
	u.change.Broadcast()
	return lost
}

// Forbids says why messages of a device are not worth keeping, empty when they are. Now and then it lets one in, which
// asks the gateway again.
func (u *Uplink) Forbids(d identity.Device) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	l := u.lanes[d]
	if l == nil || l.since.IsZero() {
		return ""
	}
	now := u.s.Now()
	if waiting := len(l.queue)+len(l.aside) > 0; !waiting && !now.Before(l.due) && now.Sub(l.let) >= time.Second {
		l.let = now
		return ""
	}
	return l.why
}
