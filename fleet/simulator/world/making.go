package world

import (
	"math"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// live plays the next moment of the device's fate.
func (l *Life) live() {
	q := l.fate.queue
	m := q[0]
	copy(q, q[1:])
	l.fate.queue = q[:len(q)-1]
	switch m.kind {
	case mBoot:
		l.start(m)
	case mDown:
		l.up, l.ended = false, m.at
		l.reading, l.heartbeat, l.trouble = Never, Never, Never
		l.say = Never
	case mHang:
		l.up = false
		l.reading, l.heartbeat, l.trouble, l.say = Never, Never, Never, Never
	case mResume:
		l.up = true
		l.grid += (max(0, m.at-l.grid) + l.c.interval - 1) / l.c.interval * l.c.interval
		l.reading = max(m.at+1, l.grid)
		l.steady(m.at)
		if l.unsaid {
			l.say = m.at + l.draw.between(2_000, 5_000)
		}
	case mOTA:
		l.report(m.at, l.otaEvent(&m, m.at))
	}
}

// start boots the device.
func (l *Life) start(m moment) {
	if l.unsaid && m.crashed == 0 { // what the boot before had to say and could not lies in the device's store
		m.crashed, m.crash = l.boot.crashed, l.boot.crash
	}
	if l.unsaid && m.ota == nothing {
		m.ota, m.from, m.to, m.took = l.boot.ota, l.boot.from, l.boot.to, l.boot.took
	}
	if m.version != l.version {
		l.version, l.traits, l.since = m.version, l.w.traitsOf(l.no, m.version), m.at
	}
	l.boot, l.unsaid, l.up = m, true, true
	l.boots++
	l.seq, l.events, l.count, l.part = 0, 0, 0, 0
	l.skew = int64(float64(l.c.Clock.Skew.Milliseconds()) * l.draw.norm())
	l.boot.at = max(0, l.ended-l.booted) // what is said is how long it was up before
	l.booted = m.at
	l.level, l.perMS, l.levelAt = m.level, m.perMS, m.at
	l.rebooted()
	l.grid = m.at + l.draw.between(5_000, 5_000+min(10_000, l.c.interval))
	l.reading = l.grid
	l.steady(m.at)
	l.say = m.at + l.draw.between(2_000, 5_000)
}

// steady sets going what goes on as long as the device is up.
func (l *Life) steady(at int64) {
	l.heartbeat = Never
	if every := l.c.Heartbeat.Milliseconds(); every > 0 {
		l.heartbeat = at + l.draw.between(every/2, every+1)
	}
	l.trouble = l.draw.next(at, l.errorRate())
}

func (l *Life) errorRate() float64 {
	rate := float64(l.c.Mishaps.Errors)
	if l.traits.errors {
		rate += float64(l.w.versions[l.version].f.Errors.Per)
	}
	return rate
}

// make makes what the device makes next. It returns true if what comes of it is given at once: that it is lost.
func (l *Life) make(at int64, what doing, h *Happening) bool {
	l.at = max(l.at, at)
	switch what {
	case reads:
		return l.read(at, h)
	case beats:
		t := l.heartbeat
		l.heartbeat += l.c.Heartbeat.Milliseconds()
		if l.c.wakes(t) > t {
			return false
		}
		fields := map[string]any{"uptime_s": (t - l.booted) / 1000}
		if l.c.Battery != nil {
			fields["battery_mv"] = 3000 + int64(1200*max(0, l.level-float64(float64(t-l.levelAt)*l.perMS)))
		}
		l.report(t, event.Device{TS: l.clock(t), Type: event.Heartbeat, Fields: fields})
	case errs:
		t := l.trouble
		l.trouble = l.draw.next(t, l.errorRate())
		if l.c.wakes(t) > t {
			return false
		}
		code, source := "EAGAIN", "net"
		if l.traits.errors && l.draw.unit()*l.errorRate() >= float64(l.c.Mishaps.Errors) {
			code, source = l.w.versions[l.version].f.Errors.Code, "driver"
		}
		l.report(t, event.Device{TS: l.clock(t), Type: event.OSError, Fields: map[string]any{"code": code, "source": source, "count": int64(1)}})
	case says:
		t := l.say
		l.say = Never
		l.report(t, l.bootEvents()...)
	}
	return false
}

// bootEvents is what a device says after a boot: how it came to it, the crash before it, and what became of an update.
func (l *Life) bootEvents() []event.Device {
	m := &l.boot
	var out []event.Device
	if m.crashed != 0 {
		out = append(out, event.Device{TS: l.clock(m.crashed), Type: event.Crash, Fields: map[string]any{"reason": m.crash.String(), "uptime_s": m.at / 1000}})
	}
	out = append(out, event.Device{TS: l.clock(l.booted), Type: event.Boot,
		Fields: map[string]any{"reason": m.reason.String(), "count": int64(l.boots), "prev_uptime_s": m.at / 1000}})
	if m.ota != nothing {
		out = append(out, l.otaEvent(m, l.booted))
	}
	l.unsaid = false
	return out
}

func (l *Life) otaEvent(m *moment, at int64) event.Device {
	fields := map[string]any{"from": l.w.versions[m.from].name, "to": l.w.versions[m.to].name, "result": m.ota.String()}
	if m.took > 0 {
		fields["duration_ms"] = m.took
	}
	if m.ota == otaPostponed {
		fields["reason"] = "busy"
	}
	return event.Device{TS: l.clock(at), Type: event.OTA, Fields: fields}
}

// report sends events in one message.
func (l *Life) report(at int64, events ...event.Device) {
	m := event.Message{Keyed: true, Boot: l.boots, Seq: l.events, Firmware: l.w.versions[l.version].name, Events: events}
	l.events++
	p := l.slot()
	body, err := m.AppendTo(p.Body[:0])
	if err != nil { // a test holds every kind to what the gateway takes
		panic("world: " + err.Error())
	}
	p.Message = Message{Stream: Events, Boot: m.Boot, Seq: m.Seq, Made: at, Values: len(events), Body: body}
	l.post(p)
}

// post sends what stands in the slot. It gives false if it is lost.
func (l *Life) post(p *packet) bool {
	p.at, p.Backlog = l.send(p.Made)
	if p.at == lost || p.at >= l.w.until {
		return p.at != lost
	}
	again, original := l.copyOf(p.at), p.Message
	l.dispatch()
	if again < l.w.until {
		c := l.slot()
		body := append(c.Body[:0], original.Body...)
		c.at, c.Message = again, original
		c.Copy, c.Body = true, body
		l.dispatch()
	}
	return true
}

// read makes a set of readings, or a part of one that is too large for a message.
func (l *Life) read(at int64, h *Happening) bool {
	t := l.reading
	if wake := l.c.wakes(t); wake > t {
		l.grid += (wake - l.grid + l.c.interval - 1) / l.c.interval * l.c.interval
		l.reading = max(wake, l.grid)
		return false
	}
	moment := l.instant(t)
	if l.part == 0 {
		l.parts, l.interval = l.messages(&moment), l.c.interval
		if moment.active {
			l.interval = l.pace(t)
		}
	}
	p := l.slot()
	values := l.fill(p, &moment)
	if l.part++; l.part >= l.parts {
		l.part = 0
		l.count++
		l.grid += l.interval
		l.reading = l.grid
		if jitter := min(l.c.jitter, int64(0.4*float64(l.interval))); jitter > 0 {
			l.reading += l.draw.between(-jitter, jitter)
		}
		l.reading = max(l.reading, t+1)
	}
	if values == 0 {
		return false
	}
	l.seq++
	l.madeOn(t).Made++
	if !l.post(p) {
		l.madeOn(t).Lost++
		h.At, h.Device, h.Kind = at, l.no, Lost
		h.Message = Message{Boot: p.Boot, Seq: p.Seq, Made: t, Values: values, Body: h.Message.Body[:0]}
		return true
	}
	return false
}

// messages is how many a set of readings needs.
func (l *Life) messages(t *instant) int {
	most, sum := 0, 0
	for i := range l.c.metrics {
		n := l.values(i, t)
		most, sum = max(most, n), sum+n
	}
	return parts(most, sum)
}

// values is how many of a metric there are in the reading.
func (l *Life) values(i int, t *instant) int {
	m := &l.c.metrics[i]
	if m.each > 1 && t.count%m.each != 0 {
		return 0
	}
	n := m.steps
	if t.active {
		for k := range l.effects {
			if e := &l.effects[k]; e.what == costSpike && e.metric == i && e.from <= t.at && t.at < e.until {
				n = max(n, int(float64(l.w.s.Faults[e.fault].CostSpike.Rate)*float64(l.c.interval)/1000))
			}
		}
	}
	return n
}

// fill writes this part of the readings into a packet.
func (l *Life) fill(p *packet, t *instant) (values int) {
	b := l.w.builders.Get().(*batch.Builder)
	b.Reset()
	b.SetKey(l.boots, l.seq)
	b.SetFirmware(l.w.versions[l.version].name)
	for i := range l.c.metrics {
		n := l.values(i, t)
		if n == 1 && l.part == l.parts-1 {
			l.measure(b, i, t)
			continue
		}
		for j := l.part * n / l.parts; j < (l.part+1)*n/l.parts; j++ {
			step := *t
			step.at -= int64(n-1-j) * l.c.interval / int64(n)
			step.says = l.clock(step.at)
			l.measure(b, i, &step)
		}
	}
	values = b.Len()
	p.Body = p.Body[:0]
	if values > 0 {
		body, err := b.AppendTo(p.Body)
		if err != nil { // a test holds every model to what the gateway takes
			panic("world: " + err.Error())
		}
		p.Message = Message{Boot: l.boots, Seq: l.seq, Made: t.at, Off: t.says - t.at, Values: values, Body: body}
	}
	l.w.builders.Put(b)
	return values
}

// befallen collects what is known in advance for this device.
func (l *Life) befallen() {
	w, f := l.w, &l.fate
	for i := range w.faults {
		lot := &w.faults[i]
		if !lot.has(l.no) {
			continue
		}
		switch s := &w.s.Faults[i]; {
		case s.PowerLoss != nil:
			for range s.PowerLoss.BrownOuts {
				f.windows = append(f.windows, befalling{f.between(lot.at-hourMS, lot.at), math.MaxInt64, brownsOut, i})
			}
			f.windows = append(f.windows, befalling{lot.at, lot.until, losesPower, i})
		case s.Silence != nil:
			f.windows = append(f.windows, befalling{lot.at, lot.until, hangs, i})
		case s.Restart != nil:
			f.windows = append(f.windows, befalling{lot.at, math.MaxInt64, restarts, i})
		case s.RadioLoss != nil:
			l.effects = append(l.effects, effect{lot.at, lot.until, radioLoss, i, -1})
			if s.RadioLoss.Loss >= 1 {
				l.cutOff(lot, i)
			}
		case s.ClockStep != nil:
			l.effects = append(l.effects, effect{lot.at, lot.until, clockStep, i, -1})
		case s.Interval != nil:
			l.effects = append(l.effects, effect{lot.at, lot.until, otherInterval, i, -1})
		case s.CostSpike != nil:
			l.effects = append(l.effects, effect{lot.at, lot.until, costSpike, i, l.c.MetricNamed(s.CostSpike.Metric)})
		case s.Anomaly != nil:
			l.effects = append(l.effects, effect{lot.at, lot.until, anomalous, i, l.c.MetricNamed(s.Anomaly.Metric)})
		case s.Clone != nil:
			l.haunted(ghost{next: lot.at, until: lot.until, every: l.c.interval, clone: true, boots: 1})
		case s.Revoke != nil && s.Revoke.Knocks > 0:
			l.haunted(ghost{next: lot.at, until: w.until, every: s.Revoke.Knocks.Milliseconds()})
		}
	}
	l.sitePower()
}

const hourMS = 60 * 60 * 1000
