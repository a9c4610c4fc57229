package update

import (
	"muster.dev/proto/event"
)

const (
	loop      = 15 * 60 // s, in which three boots are a loop
	bootStep  = 10      // s
	burst     = 3       // errors of the operating system in an hour above the device's own most
	paperTime = 15 * 60_000
	hour      = 60 * 60_000
)

// Heard says that a device said something, and with which firmware.
func (a *Arms) Heard(i int32, at int64, firmware []byte) {
	a.each(i, func(w *watch, u *unit, _ int) {
		u.heard = max(u.heard, w.seconds(at))
		if !a.open(w, at) {
			return
		}
		if u.flags&drawn == 0 {
			w.draw(u)
		}
		isNew := string(firmware) == w.started.Firmware
		switch {
		case !w.treated(u):
			if isNew { // not by this rollout: it is no control any more
				u.flags |= updated
				u.entered = 0
			}
			if u.flags&updated == 0 {
				w.enter(u, at)
			}
			return
		case isNew:
			u.flags |= updated | runsNew
			u.flags &^= postponed
		}
		if u.flags&updated == 0 {
			return
		}
		w.enter(u, at)
		if u.flags&(saidOK|runsNew|bad) == saidOK && len(firmware) > 0 && int64(u.age)*w.started.Design.TickMS >= paperTime {
			u.flags |= paper
		}
	})
}

// seconds since the rollout's zero, from 1: 0 is never.
func (w *watch) seconds(at int64) uint32 {
	return uint32(min(max(at-w.zero, 0)/1000+1, 1<<32-1))
}

func (w *watch) ms(seconds uint32) int64 { return w.zero + (int64(seconds)-1)*1000 }

// open says whether a stage is on and the tick of an instant is not closed.
func (a *Arms) open(w *watch, at int64) bool {
	if w.stage == 0 {
		return false
	}
	if at <= w.closed {
		a.late++
		return false
	}
	return true
}

// enter puts a unit at risk, if it is not.
func (w *watch) enter(u *unit, at int64) {
	if u.entered == 0 {
		u.entered = w.seconds(at)
		u.flags |= fresh
		w.stirred = true
	}
}

// Event says what a device reported. Heard is told of the message before.
func (a *Arms) Event(i int32, at int64, e *event.Device, _ string) {
	switch e.Type {
	case event.Crash, event.Boot, event.OSError, event.OTA:
	default:
		return
	}
	a.each(i, func(w *watch, u *unit, place int) {
		if !a.open(w, at) {
			return
		}
		switch e.Type {
		case event.Crash:
			a.fail(w, place, crash, at)
		case event.Boot:
			a.boot(w, place, at, e)
		case event.OSError:
			a.osError(w, place, at, e)
		case event.OTA:
			w.ota(u, at, e)
		}
	})
}

// boot counts a boot that no update made.
func (a *Arms) boot(w *watch, place int, at int64, e *event.Device) {
	switch reason, _ := e.Fields["reason"].(string); reason {
	case "ota", "rollback":
		return
	}
	u := &w.units[place]
	now := w.bootTime(at)
	if first := u.boots[0]; first != 0 && stepsSince(first, now) <= loop/bootStep {
		a.fail(w, place, bootLoop, at)
	}
	u.boots[0], u.boots[1] = u.boots[1], now
}

// bootTime is a time in steps, from 1, that comes round in a week: what is older than a loop is forgotten in each tick.
func (w *watch) bootTime(at int64) uint16 { return uint16(w.seconds(at)/bootStep%bootTurn) + 1 }

const bootTurn = 1<<16 - 1

func stepsSince(before, now uint16) int {
	return (int(now) - int(before) + bootTurn) % bootTurn
}

func (a *Arms) osError(w *watch, place int, at int64, e *event.Device) {
	u := &w.units[place]
	n, ok := e.Fields["count"].(int64)
	if !ok || n < 1 {
		n = 1
	}
	u.errs = uint8(min(int64(u.errs)+min(n, 255), 255))
	if u.entered == 0 {
		u.usual = max(u.usual, u.errs)
	} else if int(u.errs) >= int(u.usual)+burst {
		a.fail(w, place, osErrors, at)
	}
}

// fail takes a unit's first failure: the first since it came to be at risk, and the first of the draw.
func (a *Arms) fail(w *watch, place int, k kind, since int64) {
	u := &w.units[place]
	if u.flags&gone != 0 {
		return
	}
	f := failure{device: u.device, since: since, kind: k}
	if u.entered != 0 && u.flags&failed == 0 {
		u.flags |= failed | falling
		w.stirred = true
		f.counted = w.treated(u) || u.flags&fresh == 0
		if !f.counted {
			a.early++
		}
	}
	// What is a burst of errors is learnt until the update begins: no rule that is the same in both arms as they were drawn.
	if k != osErrors && u.flags&(drawn|drawnFailed) == drawn {
		u.flags |= drawnFailed | drawnFalling
		w.stirred = true
		f.drawn = u.flags&drawnFresh == 0
	}
	if f.counted || f.drawn {
		w.failed = append(w.failed, f)
	}
}

func (w *watch) ota(u *unit, at int64, e *event.Device) {
	to, _ := e.Fields["to"].(string)
	result, _ := e.Fields["result"].(string)
	if to != w.started.Firmware {
		switch result {
		case "started", "downloaded", "ok": // another update: what comes of that is not this one's
			u.flags |= gone
		}
		return
	}
	if result == "postponed" {
		if u.flags&updated == 0 {
			u.flags |= postponed
		}
		return
	}
	switch result {
	case "started", "downloaded":
	case "ok":
		u.flags |= saidOK
	case "failed", "rolled_back":
		u.flags |= bad
	default:
		return
	}
	u.flags |= updated
	u.flags &^= postponed
	if w.treated(u) {
		w.enter(u, at)
	} else {
		u.entered = 0
	}
}
