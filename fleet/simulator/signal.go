package simulator

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"
)

// sample is what a device measures at one step.
type sample struct {
	at          int64 // Unix ms
	deciCelsius int64
	rssi        int64
	heapFree    int64
	uptime      int64
	battery     int64 // per cent; -1: not measured at this step
	doorOpen    bool
	mode        string
}

const day = 24 * 60 * 60.0

// batteryEvery is the number of steps between two looks at the battery, which costs a device energy itself.
const batteryEvery = 5

// sensor is one device's signals within one boot.
type sensor struct {
	rng    *rand.Rand
	booted time.Time
	steps  int

	// fixed for a device's life
	climate, swing, phase float64 // mean temperature, half its daily range, when its day begins
	drain                 float64 // per cent of the battery a day
	range_                float64 // mean rssi

	// wandering
	drift, fading float64
	heap          int64
	doorUntil     time.Time
}

// newSensor begins a boot. What is fixed for the device's life depends on seed and name alone, what wanders on boot too.
func newSensor(seed uint64, name string, boot uint32, now time.Time) *sensor {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	life := rand.New(rand.NewPCG(seed, h.Sum64()))
	s := &sensor{
		climate: 17 + 8*life.Float64(), swing: 2 + 5*life.Float64(), phase: 0.1 * life.Float64(),
		drain: 1 + 3*life.Float64(), range_: -60 - 25*life.Float64(),
	}
	s.rng = rand.New(rand.NewPCG(seed^uint64(boot)<<32, h.Sum64()))
	s.booted, s.heap = now, 180_000
	return s
}

// step measures at a time, which must not go back.
func (s *sensor) step(at time.Time) sample {
	of := float64(at.Unix()%int64(day))/day + s.phase
	s.drift = 0.995*s.drift + 0.03*s.rng.NormFloat64()
	s.fading = 0.9*s.fading + 1.2*s.rng.NormFloat64()
	// Warmest at three in the afternoon; the second harmonic makes mornings steeper than evenings.
	day1 := 2 * math.Pi * (of - 0.375)
	celsius := s.climate + s.swing*(math.Sin(day1)+0.25*math.Sin(2*day1)) + s.drift + 0.05*s.rng.NormFloat64()

	// Allocation eats the heap in blocks of 16 bytes until it is collected.
	s.heap -= 16 * s.rng.Int64N(64)
	if s.heap < 120_000 {
		s.heap = 178_000 + 16*s.rng.Int64N(128)
	}
	// A door is opened some thirty times between seven and nineteen, for a minute or so.
	clock := of - math.Floor(of)
	if at.After(s.doorUntil) && clock > 0.29 && clock < 0.79 && s.rng.Float64() < 0.0015 {
		s.doorUntil = at.Add(time.Duration(20+s.rng.ExpFloat64()*60) * time.Second)
	}
	out := sample{
		at:          at.UnixMilli(),
		deciCelsius: int64(math.Round(celsius * 10)),
		rssi:        min(-30, max(-110, int64(math.Round(s.range_+s.fading)))),
		heapFree:    s.heap,
		uptime:      int64(at.Sub(s.booted) / time.Second),
		battery:     -1,
		doorOpen:    at.Before(s.doorUntil),
		mode:        s.mode(celsius),
	}
	if s.steps%batteryEvery == 0 {
		// From full to a fifth, then somebody charges it.
		used := math.Mod(s.drain*float64(at.Unix())/day+1000*s.phase, 80)
		out.battery = 100 - int64(used)
	}
	s.steps++
	return out
}

func (s *sensor) mode(celsius float64) string {
	switch {
	case celsius < s.climate-1.5:
		return "heat"
	case celsius > s.climate+s.swing-0.5:
		return "cool"
	default:
		return "idle"
	}
}
