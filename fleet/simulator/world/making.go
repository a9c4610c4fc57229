package world

import (
	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/fate"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// live plays the next moment of the device's fate.
func (l *Life) live() {
	m := l.fate.Take()
	switch m.Kind {
	case fate.Boots:
		l.start(m)
	case fate.GoesDown:
		l.up, l.ended = false, m.At
		l.reading, l.heartbeat, l.trouble = chance.Never, chance.Never, chance.Never
		l.say = chance.Never
	case fate.Hangs:
		l.up = false
		l.reading, l.heartbeat, l.trouble, l.say = chance.Never, chance.Never, chance.Never, chance.Never
	case fate.Resumes:
		l.up = true
		l.grid += (max(0, m.At-l.grid) + l.c.interval - 1) / l.c.interval * l.c.interval
		l.reading = max(m.At+1, l.grid)
		l.steady(m.At)
		if l.unsaid {
			l.say = m.At + l.draw.Between(2_000, 5_000)
		}
	case fate.Reports:
		l.report(m.At, l.otaEvent(&m, m.At))
	}
}

// start boots the device.
func (l *Life) start(m fate.Moment) {
	if l.unsaid && m.Crashed == 0 { // what the boot before had to say and could not lies in the device's store
		m.Crashed, m.Crash = l.boot.Crashed, l.boot.Crash
	}
	if l.unsaid && m.OTA == fate.Nothing {
		m.OTA, m.From, m.To, m.Took = l.boot.OTA, l.boot.From, l.boot.To, l.boot.Took
	}
	if m.Version != l.version {
		l.version, l.traits, l.since = m.Version, l.w.TraitsOf(l.no, m.Version), m.At
	}
	l.boot, l.unsaid, l.up = m, true, true
	l.boots++
	l.seq, l.events, l.count, l.part = 0, 0, 0, 0
	l.skew = int64(float64(l.c.Clock.Skew.Milliseconds()) * l.draw.Norm())
	l.before = max(0, l.ended-l.booted)
	l.booted = m.At
	l.level, l.perMS, l.levelAt = m.Level, m.PerMS, m.At
	l.rebooted()
	l.grid = m.At + l.draw.Between(5_000, 5_000+min(10_000, l.c.interval))
	l.reading = l.grid
	l.steady(m.At)
	l.say = m.At + l.draw.Between(2_000, 5_000)
}

// steady sets going what goes on as long as the device is up.
func (l *Life) steady(at int64) {
	l.heartbeat = chance.Never
	if every := l.c.Heartbeat.Milliseconds(); every > 0 {
		l.heartbeat = at + l.draw.Between(every/2, every+1)
	}
	l.trouble = l.draw.Next(at, l.errorRate())
}

func (l *Life) errorRate() float64 {
	rate := float64(l.c.Mishaps.Errors)
	if l.traits.Errors {
		rate += float64(l.w.Version(l.version).Is.Errors.Per)
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
		l.trouble = l.draw.Next(t, l.errorRate())
		if l.c.wakes(t) > t {
			return false
		}
		code, source := "EAGAIN", "net"
		if l.traits.Errors && l.draw.Unit()*l.errorRate() >= float64(l.c.Mishaps.Errors) {
			code, source = l.w.Version(l.version).Is.Errors.Code, "driver"
		}
		l.report(t, event.Device{TS: l.clock(t), Type: event.OSError, Fields: map[string]any{"code": code, "source": source, "count": int64(1)}})
	case says:
		t := l.say
		l.say = chance.Never
		l.report(t, l.bootEvents()...)
	}
	return false
}

// bootEvents is what a device says after a boot: how it came to it, the crash before it, and what became of an update.
func (l *Life) bootEvents() []event.Device {
	m := &l.boot
	var out []event.Device
	if m.Crashed != 0 {
		out = append(out, event.Device{TS: l.clock(m.Crashed), Type: event.Crash, Fields: map[string]any{"reason": m.Crash.String(), "uptime_s": l.before / 1000}})
	}
	out = append(out, event.Device{TS: l.clock(l.booted), Type: event.Boot,
		Fields: map[string]any{"reason": m.Reason.String(), "count": int64(l.boots), "prev_uptime_s": l.before / 1000}})
	if m.OTA != fate.Nothing {
		out = append(out, l.otaEvent(m, l.booted))
	}
	l.unsaid = false
	return out
}

func (l *Life) otaEvent(m *fate.Moment, at int64) event.Device {
	fields := map[string]any{"from": l.w.Version(m.From).Name, "to": l.w.Version(m.To).Name, "result": m.OTA.String()}
	if m.Took > 0 {
		fields["duration_ms"] = m.Took
	}
	if m.OTA == fate.Postponed {
		fields["reason"] = "busy"
	}
	return event.Device{TS: l.clock(at), Type: event.OTA, Fields: fields}
}

// report sends events in one message.
func (l *Life) report(at int64, events ...event.Device) {
	m := event.Message{Keyed: true, Boot: l.boots, Seq: l.events, Firmware: l.w.Version(l.version).Name, Events: events}
	l.events++
	p := l.slot()
	body, err := m.AppendTo(p.Body[:0])
	if err != nil { // a test holds every kind to what the gateway takes
		panic("world: " + err.Error())
	}
	p.Message = Message{Stream: Events, Boot: m.Boot, Seq: m.Seq, Made: at, Values: len(events), Body: body}
	l.post(p)
}

// post sends what stands in the slot, and says what becomes of it: Deliver, Lost or Held.
func (l *Life) post(p *packet) Kind {
	p.at, p.Backlog = l.send(p.Made)
	switch {
	case p.at == lost:
		return Lost
	case p.at >= l.w.Until():
		return Held
	}
	again, original := l.copyOf(p.at), p.Message
	l.dispatch()
	if again < l.w.Until() {
		c := l.slot()
		body := append(c.Body[:0], original.Body...)
		c.at, c.Message = again, original
		c.Copy, c.Body = true, body
		l.dispatch()
	}
	return Deliver
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
			l.reading += l.draw.Between(-jitter, jitter)
		}
		l.reading = max(l.reading, t+1)
	}
	if values == 0 {
		return false
	}
	l.seq++
	l.madeOn(t).Made++
	end := l.post(p)
	if end == Deliver {
		return false // it is a happening when it arrives
	}
	if end == Lost {
		l.madeOn(t).Lost++
	}
	h.At, h.Device, h.Kind = at, l.no, end
	h.Message = Message{Boot: p.Boot, Seq: p.Seq, Made: t, Values: values, Body: h.Message.Body[:0]}
	return true
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
				n = max(n, int(float64(l.w.Scenario().Faults[e.fault].CostSpike.Rate)*float64(l.c.interval)/1000))
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
	b.SetFirmware(l.w.Version(l.version).Name)
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
