package simulator

import (
	"muster.dev/proto/batch"
)

// maxSteps leaves room under the wire's bounds, whatever the step.
const maxSteps = 900

// encoder gathers samples into a compact batch.
type encoder struct {
	builder *batch.Builder
	steps   int
	last    int64 // Unix ms
}

func (e *encoder) add(s sample) {
	if e.builder == nil {
		e.builder = batch.NewBuilder()
	}
	if s.at == e.last {
		return // two steps within a millisecond are one
	}
	e.last = s.at
	b := e.builder
	b.SetScaled(s.at, "temp_c", s.deciCelsius, 1)
	b.SetInt(s.at, "rssi_dbm", s.rssi)
	b.SetInt(s.at, "heap_free_bytes", s.heapFree)
	b.SetInt(s.at, "uptime_s", s.uptime)
	b.SetBool(s.at, "door_open", s.doorOpen)
	b.SetText(s.at, "mode", s.mode)
	if s.battery >= 0 {
		b.SetInt(s.at, "battery_pct", s.battery)
	}
	e.steps++
}

func (e *encoder) full() bool { return e.steps >= maxSteps }

// take gives the message under its key, and begins the next one. No values is no message.
func (e *encoder) take(boot uint32, seq uint64) (body []byte, values int, err error) {
	if e.steps == 0 {
		return nil, 0, nil
	}
	b := e.builder
	b.SetKey(boot, seq)
	b.SetFirmware(firmware)
	values = b.Len()
	body, err = b.AppendTo(nil)
	b.Reset()
	e.steps = 0
	return body, values, err
}

// firmware is what simulated devices say they run.
const firmware = "sim-1.0.0"
