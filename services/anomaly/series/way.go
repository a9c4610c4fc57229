package series

const (
	wayAfter = 288 // buckets, a day: what rises for so long is no daily wave
	wayFew   = 3   // steps back in that time: a counter begins again with each boot
)

// way is whether a series goes one way only, as a counter does, and a battery. Then its steps are judged and not its
// values, and a step back, by which it begins again, is none.
type way struct {
	value, moment  float64 // of the newest bucket: its mean, and when it was, in buckets
	up, down, seen uint16  // buckets, until it is known
	goes           int8    // 1 up, -1 down; 0 neither, or not known yet
	leapt          bool    // the step before was a leap
	anew           bool    // it began again in the bucket before, whose mean is of two lives
}

// leap is how many times the usual step one is that a device makes whose clock was set. One alone is not judged.
const leap = 4

// look takes a value and its instant, in buckets. It says whether the way has just become known, and which step a bucket
// was made; skip where there is none to judge. Rows come where they like in a bucket: a step is as long as the time
// between them.
func (w *way) look(x, moment float64) (known bool, step float64, skip bool) {
	was, gap := w.value, max(moment-w.moment, .1)
	w.value, w.moment = x, moment
	if w.seen < wayAfter {
		switch {
		case w.seen == 0:
		case x > was:
			w.up++
		case x < was:
			w.down++
		}
		if w.seen++; w.seen == wayAfter {
			switch most := uint16(wayAfter * 9 / 10); {
			case w.up >= most && w.down <= wayFew:
				w.goes = 1
			case w.down >= most && w.up <= wayFew:
				w.goes = -1
			}
			return w.goes != 0, 0, w.goes != 0
		}
		return false, 0, false
	}
	if w.goes == 0 {
		return false, 0, false
	}
	step = (x - was) / gap
	return false, step, step*float64(w.goes) < 0
}

// judge looks at a bucket: at its mean, or at the step to it.
func (e *entry) judge(now *bucket, threshold float64) {
	mean := now.mean()
	if e.way.goes == 0 && e.wear.look(now.no, mean, e.way.value, e.watch.open&(1<<departure|1<<unlike) == 0) {
		if e.wear.wears {
			e.watch.wears()
		} else {
			e.det = Detector{}
			e.watch.restart()
		}
	}
	// A boot in the middle of a bucket: its mean is of no use, and the step from it is none.
	anew := e.way.goes > 0 && now.low < e.way.value || e.way.goes < 0 && now.high > e.way.value
	known, step, skip := e.way.look(mean, now.moment())
	skip = skip || anew || e.way.anew
	e.way.anew = anew
	if known {
		// What was learned of the values says nothing about the steps.
		e.det = Detector{}
		e.watch.restart()
	}
	of := *now
	if e.way.goes != 0 {
		size := step * float64(e.way.goes)
		leaps := !skip && e.det.n > warmLevel && (size > leap*e.det.scale || size < e.det.scale/leap)
		skip = skip || leaps && !e.way.leapt
		if e.way.leapt = leaps; skip {
			return
		}
		of.rest, of.rows = 0, max(1, of.rows)
		of.sum = float64(step * float64(of.rows))
		of.low, of.high = step, step
	}
	score, y := e.det.row(int64(of.no)*bucketMS, of.mean())
	e.watch.counts = e.way.goes != 0
	if e.wear.wears {
		score = 0
	}
	e.watch.look(&e.det, &of, e.last, score, y, threshold, e.wear.wears)
}

// restart forgets what was learned of values; of rates and of absences all is kept.
func (w *watch) restart() {
	kept := *w
	*w = watch{found: kept.found, open: kept.open, told: kept.told, fresh: kept.fresh, often: kept.often, seldom: kept.seldom, rates: kept.rates, absence: kept.absence}
	w.close(unusual, flat, noise, departure, unlike)
}

// wears ends what was found of a consumable's values.
func (w *watch) wears() {
	w.hint = hint{}
	w.close(unusual, noise, departure, unlike)
}

func (w *watch) close(these ...kind) {
	for _, k := range these {
		if w.is(k) {
			w.end(k, w.found[k].since+1)
		}
	}
}
