package spend

import (
	"math"
	"slices"
)

const (
	weekHours = 168
	dayHours  = 24
	knownFrom = 3             // closed hours before anything is said
	dayFrom   = dayHours      // from then on the hour of the day is known
	weekFrom  = 2 * weekHours // and from then on the hour of the week

	dayWeight  = .1
	weekWeight = .25
	clipTimes  = 3. // an hour counts for so many times its forecast at most
	partWeight = .05
	partFrom   = 2. // whole hours before the shares are believed

	hotTimes   = 2.  // the forecast
	wideTimes  = 4.  // the median, on the first day
	wideMost   = 1.5 // and the greatest hour
	coolTimes  = 1.5
	noiseTimes = 6. // standard deviations
	noiseLeast = .02
	noiseMost  = 1.
	noiseStep  = .05
	debtKeep   = .95 // an hour, of what was due and has not come: it may come late
	debtBelow  = .5  // of the forecast, an hour owes the rest
	debtHours  = 48  // after so many it is not late, but less

	tellsFrom = .05 // of an hour's volume is due in a step that says whether it is over
)

// line is one number that comes by the hour: values of a metric or a cohort, or bytes.
type line struct {
	week   [weekHours]float32
	day    [dayHours]float32
	recent [dayHours]float32 // the last hours, by hour of the day
	part   [steps]float32    // share of an hour that has come by each step
	parts  float64           // hours that the shares were learned in, each by how much came in it
	noise  float32           // mean deviation of an hour, as a share of its forecast
	debt   float64
	lows   uint8   // hours in a row that owe
	month  float64 // so far in this month, closed hours
	was    before  // what was known before the last hour

	at  int64 // of now
	now float64
	cum [steps + 1]float64 // of this hour, by step; filled up to the last
}

// before is what a line knew of an hour before it learned it.
type before struct {
	hour                     int64 // its start; 0: there is none
	week, day, recent, noise float32
}

// hourOf gives the hours since the epoch, of the day and of the week.
func hourOf(hour int64) (day, week int) {
	n := hour / hourMS
	return int(n % dayHours), int(n % weekHours)
}

// forecast of an hour, for a line that is known for so many hours.
func (l *line) forecast(hour int64, known uint32) float64 {
	day, week := hourOf(hour)
	switch {
	case known >= weekFrom:
		return float64(l.week[week])
	case known >= dayFrom:
		return float64(l.day[day])
	}
	return l.median(hour, int(known))
}

// past gives the last hours before hour, n at most.
func (l *line) past(hour int64, n int) []float32 {
	out := make([]float32, 0, dayHours)
	for i := 1; i <= min(n, dayHours); i++ {
		day, _ := hourOf(hour - int64(i)*hourMS)
		out = append(out, l.recent[day])
	}
	return out
}

func (l *line) median(hour int64, known int) float64 {
	all := l.past(hour, known)
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return (float64(all[(len(all)-1)/2]) + float64(all[len(all)/2])) / 2
}

// usual is the line's mean hour.
func (l *line) usual(hour int64, known uint32) float64 {
	if known < dayFrom {
		return l.median(hour, int(known))
	}
	sum := 0.
	for _, v := range l.day {
		sum += float64(v)
	}
	return sum / dayHours
}

// share of an hour that comes until a step: learned, for devices may say all in its first minute.
func (l *line) share(step int) float64 {
	if step <= 0 {
		return 0
	}
	if l.parts < partFrom || step >= steps {
		return float64(step) / steps
	}
	return max(.01, min(1, float64(l.part[step-1])))
}

// verdict on an hour so far.
type verdict struct {
	forecast float64 // of the hour
	rate     float64 // an hour, as it is now
	excess   float64 // over what was expected by now
	hot      bool    // beyond forecast and noise, and the last step too
	cool     bool    // the last step was as usual
	tells    bool    // the last step is one in which something comes
}

// judge holds the hour so far, until a step, against its forecast.
func (l *line) judge(hour int64, step int, known uint32) verdict {
	v := verdict{forecast: l.forecast(hour, known)}
	share, before := l.share(step), l.share(step-1)
	now, last := l.cum[step], l.cum[step]-l.cum[step-1]
	bar, times := v.forecast, hotTimes
	if known < dayFrom {
		times = wideTimes
		if past := l.past(hour, int(known)); len(past) > 0 {
			bar = max(bar, float64(slices.Max(past))*wideMost/wideTimes)
		}
	}
	due := float64(bar*share) + l.debt
	dev := max(noiseLeast, min(noiseMost, float64(l.noise))) * 1.25 * due
	spread := math.Sqrt(float64(dev*dev)/max(share, .01) + due)
	lastDue := max(float64(bar*max(0, share-before)), due/steps/4)
	v.excess = now - due
	v.hot = now > times*due && v.excess > float64(noiseTimes*spread) && last > times*lastDue
	if v.tells = share-before >= tellsFrom; v.tells {
		v.rate = last / (share - before)
	} else {
		v.rate = now / max(share, .01)
	}
	v.cool = last <= float64(coolTimes*lastDue)+float64(noiseTimes/2*spread)/math.Sqrt(steps)
	return v
}

// close learns an hour; where something was told, only its sum is kept.
func (l *line) close(hour int64, known uint32, learn bool) {
	v := l.now
	l.month += v
	if learn {
		l.learn(hour, known, v)
	} else {
		l.skip(hour, known)
	}
	l.now, l.cum = 0, [steps + 1]float64{}
}

// skip takes an hour of which nothing is learned for what was forecast.
func (l *line) skip(hour int64, known uint32) {
	day, _ := hourOf(hour)
	l.recent[day] = float32(l.forecast(hour, known))
}

// unlearn forgets the hour before one in which something is told: it may have begun there, and would be usual a day later.
func (l *line) unlearn(hour int64) {
	if l.was.hour == 0 || l.was.hour != hour-hourMS {
		return
	}
	day, week := hourOf(l.was.hour)
	if l.recent[day] > l.was.recent { // what came less is no part of it
		l.recent[day], l.week[week], l.day[day], l.noise = l.was.recent, l.was.week, l.was.day, l.was.noise
	}
	l.was = before{}
}

func (l *line) learn(hour int64, known uint32, v float64) {
	day, week := hourOf(hour)
	f := l.forecast(hour, known)
	l.was = before{hour: hour, week: l.week[week], day: l.day[day], recent: float32(f), noise: l.noise}
	l.recent[day] = float32(v)
	if known >= dayFrom {
		if f > 0 {
			l.noise += float32(float64(noiseStep * (min(1, math.Abs(v-f)/f) - float64(l.noise))))
		}
		l.owe(f, v)
		if f > 0 {
			v = max(f/clipTimes, min(f*clipTimes, v))
		}
	} else if m := f; m > 0 {
		l.noise += float32(float64(max(noiseStep, 1/float64(known+1)) * (min(1, math.Abs(v-m)/m) - float64(l.noise))))
	}
	days, weeks := known/dayHours+1, known/weekHours+1
	l.day[day] += float32(float64(max(dayWeight, 1/float64(days)) * (v - float64(l.day[day]))))
	l.week[week] += float32(float64(max(weekWeight, 1/float64(weeks)) * (v - float64(l.week[week]))))
	if all := l.cum[steps]; all > 0 {
		weight := min(1, all/max(1, float64(slices.Max(l.recent[:])))) // a few early ones say little of how the many come
		l.parts = min(l.parts+weight, 1/partWeight)
		w := weight / l.parts
		for k := range l.part {
			l.part[k] += float32(float64(w * (l.cum[k+1]/all - float64(l.part[k]))))
		}
	}
}

// owe remembers what an outage keeps back: it comes later, all at once, and is no cost more.
func (l *line) owe(f, v float64) {
	l.debt = float64(l.debt * debtKeep)
	switch {
	case v >= debtBelow*f:
		l.lows = 0
		l.debt = max(0, l.debt-max(0, v-f))
	case l.lows < debtHours:
		l.lows++
		l.debt += f - v
	default:
		l.debt = 0
	}
}

// anew forgets what was usual.
func (l *line) anew() { *l = line{month: l.month} }
