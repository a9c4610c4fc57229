package series

import "math"

// The constants of the detector. Weights are for rows that come each five minutes. They are what one setting for all
// series needs and were left alone after they were chosen: more of them, or finer ones, fit the series at hand and lose
// on others.
const (
	scaleWeight = .001 // of the running mean of |x| by which values are divided
	levelWeight = .3   // of the level
	bins        = 48   // half hours of the UTC day
	binWeight   = .05
	shareWeight = .001 // of the variances that say what the time of day explains

	usualWeight = .0005 // of a feature's mean and variance
	valueWeight = .02   // the same for the row's own value: what was usual in about the last 50 rows
	valuePart   = .45   // of its surprise: alone it marks a chart and is below what an incident takes
	zFloor      = .03   // least standard deviation of a feature, by its grain: a series that never moved is no reason to shout
	rareWeight  = .0005 // of the step of a feature's rare value
	rareShare   = .98   // quantile that is rare
	rareFirst   = 2.
	excessWeigh = 3. // excesses of 1 that are taken for granted
	excessKeep  = 1 - .024
	surpriseCap = 6.

	warmLevel = 100 // rows
	warmRest  = 150

	memoryKeep  = .7  // a day, of what a half hour is used to
	memoryTaken = .85 // of it is no surprise
	peakLeast   = 500 // rows, half-life of the greatest surprise
	peakPart    = 1. / 4
	holdLeast   = 150 // rows, half-life of the last alarm
	holdPart    = 1. / 27
	peakAdd     = 10.
	restRows    = 12 // after an alarm it takes restMore of it to alarm again
	restMore    = 1.3
	leastAlarm  = .02

	rowsCap = 1 << 16

	dayMS = 86_400_000
)

// Detector judges one series. The zero value is ready.
type Detector struct {
	scale float64
	level float64
	// Variances about the time of day's mean and about the mean of all.
	restVar, mean, levelVar float64

	peak, hold float64
	day        int64

	byLevel, byValue, byRest feature
	grain                    grain

	n     uint32 // rows, at most rowsCap
	quiet uint8  // rows since the last alarm, at most restRows

	visits [bins]uint8
	usual  [bins]float32 // of the half hour
	memory [bins]float32 // of surprise
	today  [bins]float32
}

// Row takes the value at an instant, Unix ms, and says how unusual it is: 0 mostly, less than 1 always, in millionths.
// The value must be a number. Rows come in order of time; a step back is borne.
func (d *Detector) Row(at int64, x float64) float64 {
	score, _ := d.row(at, x)
	return score
}

// row gives the value in the detector's own measure too.
func (d *Detector) row(at int64, x float64) (score, y float64) {
	if d.n == 0 {
		d.quiet = restRows
	}
	if d.n < rowsCap {
		d.n++
	}
	n := float64(d.n)
	d.scale += float64(max(scaleWeight, 1/n) * (math.Abs(x) - d.scale))
	y = asinh(x / (d.scale + 1e-9))
	d.grain.step(x, d.scale, d.levelVar, n)
	floor := d.grain.of(zFloor)
	if d.n == 1 {
		d.level = y
	}
	bin := binOf(at)
	r := d.residual(bin, y)
	share := max(shareWeight, 1/n)
	d.mean += float64(share * (y - d.mean))
	off := y - d.mean
	d.levelVar += float64(share * (float64(off*off) - d.levelVar))

	d.level += float64(levelWeight * (y - d.level))
	// A row that leaps and a level that moves are two sides of one thing: they are not added up.
	surprise := max(d.byLevel.step(d.level, n, usualWeight, floor), float64(valuePart*d.byValue.step(x/(d.scale+1e-9), n, valueWeight, floor)))
	if d.n <= warmLevel {
		surprise = 0
	}
	if s := d.byRest.step(r, n, usualWeight, floor); d.n > warmRest {
		surprise += float64(d.seasonal() * s)
	}
	return d.alarm(at, bin, surprise), y
}

// residual is what is left of y without the half hour's mean.
func (d *Detector) residual(bin int, y float64) (r float64) {
	if d.visits[bin] > 0 {
		r = y - float64(d.usual[bin])
	} else {
		d.usual[bin] = float32(y)
	}
	if d.visits[bin] < math.MaxUint8 {
		d.visits[bin]++
	}
	d.usual[bin] += float32(float64(max(binWeight, 1/float64(d.visits[bin])) * (y - float64(d.usual[bin]))))
	d.restVar += float64(max(shareWeight, 1/float64(d.n)) * (float64(r*r) - d.restVar))
	return r
}

// seasonal is how far the time of day explains the series: 1 from half of the variance on.
func (d *Detector) seasonal() float64 {
	return max(0, min(1, 2*(1-d.restVar/(d.levelVar+1e-12))))
}

// alarm takes what this time of day is used to away from the surprise, and lets through what stands out from what was
// let through before.
func (d *Detector) alarm(at int64, bin int, surprise float64) float64 {
	if day := floorDiv(at, dayMS); day != d.day {
		if d.n > 1 {
			for i := range d.memory {
				d.memory[i] = max(float32(memoryKeep*float64(d.memory[i])), d.today[i])
			}
			d.today = [bins]float32{}
		}
		d.day = day
	}
	used := float64(max(d.memory[bin], d.memory[(bin+1)%bins], d.memory[(bin+bins-1)%bins]))
	d.today[bin] = max(d.today[bin], float32(surprise))
	u := max(0, surprise-float64(memoryTaken*used)) / (d.peak + peakAdd)
	n := float64(d.n)
	d.peak = max(float64(d.peak*half(max(peakLeast, n*peakPart))), surprise)
	d.hold *= half(max(holdLeast, n*holdPart))
	gate := d.hold
	if d.quiet < restRows {
		d.quiet++
	}
	if d.quiet < restRows {
		gate *= restMore
	}
	if u <= gate || u <= leastAlarm {
		return 0
	}
	d.hold, d.quiet = u, 0
	return millionths(u / (1 + u))
}

// Usual is what the series is expected to say at an instant, as far as it is known.
func (d *Detector) Usual(at int64) float64 {
	return float64(sinh(d.expected(at)) * (d.scale + 1e-9))
}

// expected is Usual in the detector's own measure.
func (d *Detector) expected(at int64) float64 {
	y := d.mean
	if bin := binOf(at); d.visits[bin] > 0 {
		y += float64(d.seasonal() * (float64(d.usual[bin]) - y))
	}
	return y
}

// feature is a number of each row that is held against its usual scatter, and its distance from it against its own rare
// values.
type feature struct {
	mean, variance float32
	rare           float32 // quantile rareShare of the distance, in standard deviations
	excess, count  float32 // beyond it: sum and number
}

// step gives the surprise of v: how many mean excesses it lies beyond what is rare. Its mean and variance move by weight;
// floor is the least standard deviation.
func (f *feature) step(v, n, weight, floor float64) float64 {
	w := max(weight, 1/n)
	mean, variance, rare := float64(f.mean), float64(f.variance), float64(f.rare)
	off := v - mean
	z := math.Abs(off) / math.Sqrt(variance+float64(floor*floor))
	f.mean = float32(mean + float64(w*off))
	f.variance = float32(float64((1 - w) * (variance + float64(w*float64(off*off)))))
	if n == 1 {
		f.rare, f.excess, f.count = rareFirst, excessWeigh, excessWeigh
		return 0
	}
	surprise := 0.
	move := float64(max(rareWeight, 1/n) * (rare + .3))
	if z > rare {
		excess, count := float64(f.excess), float64(f.count)
		over := z - rare
		surprise = min(surpriseCap, over*count/excess)
		f.excess = float32(float64(excess*excessKeep) + over)
		f.count = float32(float64(count*excessKeep) + 1)
		f.rare = float32(rare + float64(2*rareShare*move))
	} else {
		f.rare = float32(max(0, rare-float64(2*(1-rareShare)*move)))
	}
	return surprise
}

func binOf(at int64) int {
	return int((at - floorDiv(at, dayMS)*dayMS) / (dayMS / bins))
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// millionths rounds to 1e-6: what leaves a detector is equal on every machine.
func millionths(v float64) float64 { return math.Round(v*1e6) / 1e6 }
