package series

import (
	"math"
	"math/bits"
)

// kind of what is found in a series.
type kind uint8

const (
	unusual   kind = iota // a value that the Detector tells
	flat                  // it says the same for longer than it ever did
	noise                 // it swings more than it does
	departure             // it has left its place: a jump, or a drift
	rate                  // rows come more often, or more seldom, or not at all while the device speaks
	unlike                // it has left the place that it has among its peers
	kinds
)

// Bounds of the kinds beside the Detector's. A gauge opens at a multiple of what is usual, and above what was seen in
// the last days.
const (
	warmRates  = 288   // buckets, a day, for what the time of day has little part in
	warmSwings = 576   // two days: nights may swing otherwise than days
	warmTold   = 432   // a day and a half, for a value of the Detector, and for what is unlike its peers
	warmAlone  = 1_152 // for a departure that no peers can be asked about

	flatLeast   = 12  // buckets
	flatLonger  = 3   // times the longest stretch so far
	stateLonger = 4   // of what mostly stays as it is
	stateBelow  = .5  // share of buckets that change
	flatOften   = .9  // share of buckets that change, below which a series is often the same: its stretches are learnt for longer
	farthest    = 50. // exponent of what is never reached
	flatChance  = 23  // -ln of the chance of such a stretch

	swingWeight = .1
	swingTimes  = 3.
	swingLeast  = .004
	swingCap    = 5. // usual swings that one counts for

	awayWeight  = .15
	awayTimes   = 6.
	crowdTimes  = 4.5 // of a median: it wanders less, and there are fewer of them
	awayLeast   = .009
	awayLearns  = 288     // buckets: a day, until when the time of day is not known
	weekKnown   = 8 * 288 // buckets, until when a weekend is not known
	lifeGap     = 72      // buckets of a gap that count as time in which a series was seen
	weekendAsks = 36      // buckets, three hours, until on the first one it is seen whether its peers go, too
	weekendFlat = 144     // half a day, for what is flat: nobody is there to move it
	awayStays   = 4       // of eight buckets: what a bucket or two do is no departure
	hintBuckets = 1       // more that are as unusual
	jumpRise    = 24      // buckets within which a jump is done; what takes longer drifts

	rateWeight = .15
	rateSlow   = .002
	rateTimes  = 6.
	rateLeast  = 1. / 6 // so that twice or half as often is the least
	rateCap    = 5.
	rateGap    = 24 // buckets without a row after which a rate says nothing

	absentLeast = 12  // buckets in which the device spoke, and the metric was not there
	absentRows  = 20. // that were to be expected in them
	absentMore  = 3   // times the longest absence so far

	calmBuckets  = 12    // after an unusual value it is over
	adoptBuckets = 2_016 // a week: what lasts longer is usual from then on

	gaugeWeight = .0005
	memoryMore  = 1.3
	memoryFades = .9 // a day
)

// found is one thing that was found, from bucket since until bucket until.
type found struct {
	since, until        int32
	score, value, usual float32
}

// gauge is a distance that is held against its own mean and against the greatest of the days before.
type gauge struct {
	usual, memory, today float32
	near                 int32 // newest bucket at which it was far from standing out; the first one if it never was
	tail                 tail
}

// high says whether v, times times the usual or the least, stands out, and is farther than it goes once in so many weeks.
func (g *gauge) high(v, times, least, weeks, turns float64, of shape) bool {
	usual := max(float64(g.usual), least)
	return v > times*usual && v > memoryMore*float64(g.memory) && v > g.tail.limit(weeks, turns, of)*usual
}

// low says whether v is back.
func (g *gauge) low(v, times, least float64) bool {
	return v < times/2*max(float64(g.usual), least)
}

func (g *gauge) learn(v, least, n float64, of shape) {
	// What goes far beyond the usual is the tail's affair: a slow drift would make itself usual.
	weight, usual, seen := max(gaugeWeight, 1/n), max(float64(g.usual), least), v
	if of.normal {
		seen = min(v, float64(of.from*usual))
	}
	g.usual += float32(float64(weight * (seen - float64(g.usual))))
	g.today = max(g.today, float32(v))
	g.tail.learn(v/usual, weight, of)
}

func (g *gauge) nextDay() {
	g.memory = max(float32(memoryFades*float64(g.memory)), g.today)
	g.today = 0
}

// adopt takes v for usual from now on.
func (g *gauge) adopt(v float64) { g.usual, g.memory, g.today = float32(v), float32(v), 0 }

// judge says from when on v stands out, if it does.
func (g *gauge) judge(v, times, least, weeks, turns float64, of shape, no int32) (since int32, high bool) {
	if v < times/3*max(float64(g.usual), least) || g.near == 0 { // not before it was first looked at
		g.near = no
	}
	return g.near + 1, g.high(v, times, least, weeks, turns, of)
}

// apart is how far a series is from its place.
type apart struct {
	gauge
	fast, slow float32
	crest      float32 // the farthest, of what is open
	turns      uint16  // how often it went from one side of its place to the other: so many distances were seen
	others     float32 // of peers, that count as its own
	drifts     bool
	vetoed     bool  // nothing begins in this bucket, for a reason that lies elsewhere
	rests      bool  // nothing begins on a weekend, until one is known
	up, down   uint8 // of the last eight buckets, those that are above, or below, by half of what stands out
}

// knows is from how many distances the usual one is known.
func (a *apart) knows() float64 { return float64(a.turns) + float64(a.others) }

// stays says whether a distance is not the work of a bucket or two.
func (a *apart) stays() bool {
	return bits.OnesCount8(a.up) >= awayStays && a.fast > a.slow || bits.OnesCount8(a.down) >= awayStays && a.fast < a.slow
}

// place is a series' value beside its peers' values, whatever was expected of either: who missed a day that all others
// had expects another one than they do.
type place struct{ fast, slow, usual float32 }

// look takes the distance of a bucket, and says whether it has left its place by half of what would stand out.
func (p *place) look(v, times, least float64, d *Detector, open bool) (away float64, stands bool) {
	p.fast += float32(float64(awayWeight * (v - float64(p.fast))))
	if d.n < warmLevel {
		p.slow = p.fast
		return 0, false
	}
	away = float64(p.fast) - float64(p.slow)
	stands = math.Abs(away) > times/2*max(float64(p.usual), least)
	if n := float64(d.n - warmLevel + 1); !open {
		p.usual += float32(float64(max(gaugeWeight, 1/n) * (math.Abs(away) - float64(p.usual))))
		p.slow += float32(float64(max(shareWeight, 1/n) * away))
	}
	return away, stands
}

// its says whether a departure from its peers is the series' own: it has left its place beside them as it has left the one
// that was expected of it. If it stays and they go, it is not. Where they do not go farther than they usually do, calm, it
// need not have: what they wander may have made up for it.
func (w *watch) its(v, times, least float64, d *Detector, calm bool) bool {
	away, stands := w.place.look(v, times, least, d, w.is(unlike))
	beside := float64(w.beside.fast) - float64(w.beside.slow)
	own := float64(w.alone.fast) - float64(w.alone.slow)
	return stands && away*beside > 0 && (calm || own*beside > 0 && math.Abs(own) > math.Abs(beside)/2)
}

// hint is a value that the Detector tells, until it is seen that it lasts.
type hint struct {
	no                       int32
	score, value, usual, off float32
	seen                     uint8
	asked                    bool // it was as far from its peers, too
}

// confirm takes how far a bucket is from where its series, and its peers, let it be expected. A value that the Detector
// tells is one to speak of when another within an hour is as far away, and its peers are not.
func (w *watch) confirm(no int32, off, times float64, d *Detector) {
	h, v, least := &w.hint, math.Abs(off), d.grain.of(awayLeast)
	if d.n > warmLevel {
		// One of a bucket that came too late to be held against the others is none.
		switch far := w.far.high(v, times, least, w.weeks, turnsMany, distances); {
		case h.no == no && far:
			h.asked = true
		case !h.asked:
			*h = hint{}
		}
		w.far.learn(v, least, float64(d.n-warmLevel), distances)
	}
	switch {
	case h.no == 0 || w.is(unusual):
	case no-h.no > calmBuckets:
		*h = hint{}
	case no > h.no && off*float64(h.off) > 0 && math.Abs(off) >= math.Abs(float64(h.off))/2:
		if h.seen++; h.seen >= hintBuckets {
			w.begin(unusual, h.no, float64(h.score), float64(h.value), float64(h.usual))
			w.found[unusual].until = no
			*h = hint{}
		}
	}
}

// watch looks at a series beside its Detector: what holds on, and what the mean of a bucket does not show.
type watch struct {
	found             [kinds]found
	open, told, fresh uint8 // bits by kind; fresh: opened since it was told

	weeks   float64 // logarithm of those in which one such series and kind may be told once
	lived   uint32  // buckets since the first, of a gap lifeGap at most
	value   float64 // of the newest bucket
	y       float64
	run     uint32 // buckets of the same value
	longest uint32
	changes float32 // share of buckets that change
	from    int32   // first bucket of the run
	bounds  bounds
	states  states

	swing, often, seldom float32 // rows a bucket: lately, and usually
	swings, rates, far   gauge
	runs                 tail   // of the same value, in buckets
	absence              uint32 // longest, in buckets
	counts               bool   // rows are a counter's steps

	hint          hint
	off           float32 // of the newest bucket from what the Detector expected
	place         place
	alone, beside apart // from its place, and from its place beside its peers
	rise          rise  // of the distance from its peers
}

func (w *watch) is(k kind) bool { return w.open&(1<<k) != 0 }

func (w *watch) begin(k kind, since int32, score, value, usual float64) {
	w.open |= 1 << k
	w.fresh |= 1 << k
	w.found[k] = found{since: since, score: float32(score), value: float32(value), usual: float32(usual)}
}

func (w *watch) end(k kind, at int32) {
	w.open &^= 1 << k
	w.found[k].until = at
}

// strength of what is times as much as opens it.
func strength(v, times, least float64) float64 {
	u := v / (v + float64(times*least))
	if math.IsNaN(u) {
		return 0
	}
	return u
}

// look judges a closed bucket, which the Detector has seen already. last is the series' bucket before, 0 if there is none.
func (w *watch) look(d *Detector, b *bucket, last int32, score, y, threshold float64, wears bool) {
	at, x := int64(b.no)*bucketMS, b.mean()
	w.lives(last, b.no)
	w.states.see(b)
	if floorDiv(at, dayMS) != floorDiv(int64(last)*bucketMS, dayMS) {
		w.swings.nextDay()
		w.alone.nextDay()
		w.beside.nextDay()
		w.rise.nextDay()
		w.rates.nextDay()
		w.far.nextDay()
	}
	switch {
	case d.n <= warmTold:
	case score >= threshold && !w.is(unusual) && w.states.known(b.no):
	case score >= threshold && !w.is(unusual):
		w.hint = hint{no: b.no, score: float32(score), value: float32(x), usual: float32(d.Usual(at)), off: float32(y - d.expected(at))}
	case score >= threshold:
		w.found[unusual].until = b.no
	case w.is(unusual) && b.no-w.found[unusual].until > calmBuckets:
		w.end(unusual, w.found[unusual].until+1)
	}
	w.flatLine(d, b, x)
	if last > 0 && b.no-last <= 3 && !wears {
		w.swinging(d, b, x, y)
	}
	e := y - d.expected(at)
	w.off = float32(e)
	if !wears {
		w.alone.rests = true
		w.leaving(departure, &w.alone, awayTimes, d.grain.of(awayLeast), d, b.no, e, x)
	}
	if last > 0 {
		w.coming(d, b, b.no-last)
	}
	w.value, w.y = x, y
}

// lives takes the time from bucket last, 0 if there was none, to another.
func (w *watch) lives(last, no int32) {
	if last > 0 {
		w.lived = min(w.lived+uint32(max(0, min(lifeGap, no-last))), rowsCap)
	}
}

func (w *watch) flatLine(d *Detector, b *bucket, x float64) {
	same := b.low == b.high && x == w.value && d.n > 1
	change := 1.
	if same {
		change = 0
		w.run++
	} else {
		w.longest = max(w.longest, w.run)
		w.runs.learn(min(float64(w.run), w.runs.limit(w.weeks, turnsMany, stretches)), 0, stretches)
		if w.is(flat) {
			w.end(flat, b.no)
		}
		w.run, w.from = 0, b.no
	}
	w.bounds.see(float32(x), same)
	if w.stuck(d) && !(w.lived < weekKnown && onWeekend(w.from, b.no)) && !(w.bounded(x) && b.no-w.from < w.bounds.waits(b.no-w.from)) {
		w.sticks(d, b.no)
	}
	if w.run < flatLeast {
		w.changes += float32(float64(max(scaleWeight, 1/float64(d.n)) * (change - float64(w.changes))))
	}
}

// stuck says whether the series says the same for longer than it ever did.
func (w *watch) stuck(d *Detector) bool {
	// A state that stays is left and entered in a bucket each: half of its changes are one.
	longer, warm, stays := w.longer(), uint32(warmLevel), 1-float64(w.changes)
	if w.changes < flatOften {
		warm = warmAlone
	}
	if w.stays() {
		stays = 1 - float64(w.changes)/2
	}
	return !w.is(flat) && d.n > warm && w.run >= flatLeast && w.run >= longer*w.longest &&
		float64(w.run)*-logarithm(max(.05, stays)) >= flatChance && float64(w.run) > w.runs.limit(w.weeks, turnsMany, stretches) && float64(w.run) > w.held(d)
}

// held is how long it may say the same: of what changes by chance, so often as it was seen to change so far.
func (w *watch) held(d *Detector) float64 {
	most := min(float64(d.n), 1/scaleWeight)
	turns := most * float64(w.changes)
	if w.stays() {
		turns /= 2
	}
	far := w.weeks + logarithm(max(turns, 1)/most*weekBuckets)
	return most * (exponential(min(farthest, far/max(turns, 1))) - 1)
}

// longer is how many times its longest stretch the next has to be.
func (w *watch) longer() uint32 {
	if w.stays() {
		return stateLonger
	}
	return flatLonger
}

// sticks begins what stuck found.
func (w *watch) sticks(d *Detector, no int32) {
	w.begin(flat, w.from, strength(float64(w.run), float64(w.longer()), float64(max(w.longest, 3))), w.value, d.Usual(int64(no)*bucketMS))
}

// stays says whether the series mostly says what it said before, as a switch does.
func (w *watch) stays() bool { return w.changes < stateBelow }

func (w *watch) swinging(d *Detector, b *bucket, x, y float64) {
	least := d.grain.of(swingLeast)
	g := min(math.Abs(y-w.y), swingCap*max(float64(w.swings.usual), least))
	w.swing += float32(float64(swingWeight * (g - float64(w.swing))))
	if (w.stays() || w.counts || w.states.known(b.no) || w.bounds.often()) && !w.is(noise) {
		return // a switch that is thrown more often is no noise, and of a counter's steps rows that are lost make some
	}
	w.gauge(noise, &w.swings, float64(w.swing), swingTimes, least, true, d, b.no, x)
}

// leaving judges the distance e of a series from where it is expected, by itself or beside its peers.
func (w *watch) leaving(k kind, a *apart, times, least float64, d *Detector, no int32, e, x float64) {
	above := a.fast > a.slow
	a.fast += float32(float64(awayWeight * (e - float64(a.fast))))
	if d.n < awayLearns {
		a.slow = a.fast
		return
	}
	if above != (a.fast > a.slow) && a.turns < math.MaxUint16 {
		a.turns++
	}
	off := math.Abs(float64(a.fast) - float64(a.slow))
	side, half := e-float64(a.slow), times/2*max(float64(a.usual), least)
	a.up, a.down = a.up<<1, a.down<<1
	if side > half {
		a.up |= 1
	} else if side < -half {
		a.down |= 1
	}
	was := w.is(k)
	weekend := w.lived < weekKnown && onWeekend(a.near+1, no)
	begins := !(a.rests && weekend && ofWeekend(a.near+1, no)) && a.stays() && !a.vetoed && !w.states.known(no)
	if k == unlike && !was && weekend && begins && no-a.near <= weekendAsks && d.n > warmTold && a.high(off, times, least, w.weeks, a.knows(), distances) {
		return // not learned either: what is told late must not have become usual
	}
	adopted := w.gauge(k, &a.gauge, off, times, least, begins, d, no, x)
	switch now := w.is(k); {
	case now && !was:
		a.drifts, a.crest = no-a.near > jumpRise, float32(off)
	case adopted:
		a.slow = a.fast
	case was && !now:
		// The Detector has learned some of it: the way back looks like another, smaller departure.
		a.memory = max(a.memory, a.crest)
	case now:
		a.crest = max(a.crest, float32(off))
	}
	if !w.is(k) {
		a.slow += float32(float64(max(shareWeight, 1/float64(d.n)) * (float64(a.fast) - float64(a.slow))))
	}
}

func (w *watch) coming(d *Detector, b *bucket, gap int32) {
	if gap > rateGap {
		return
	}
	q := float64(b.rows) / float64(gap)
	if w.seldom > 0 {
		q = min(q, rateCap*float64(w.seldom))
	} else {
		w.often, w.seldom = float32(q), float32(q)
	}
	w.often += float32(float64(rateWeight * (q - float64(w.often))))
	times := max(float64(w.often)/float64(w.seldom), float64(w.seldom)/float64(w.often)) - 1
	w.gauge(rate, &w.rates, times, rateTimes, rateLeast, true, d, b.no, float64(w.often))
	w.found[rate].usual = w.seldom
	if !w.is(rate) {
		w.seldom += float32(float64(max(rateSlow, 1/float64(d.n)) * (q - float64(w.seldom))))
	}
}

// gauge opens and closes a kind by a gauge, or lets the gauge learn. What goes on for too long is adopted as usual.
func (w *watch) gauge(k kind, g *gauge, v, times, least float64, stays bool, d *Detector, no int32, x float64) (adopted bool) {
	warm, n, of, turns := uint32(warmRates), float64(d.n), distances, turnsMany
	switch k {
	case noise:
		warm, of = warmSwings, swings
	case rate:
		of = paces
	case departure:
		warm, n, turns = warmAlone, n-awayLearns+1, w.alone.knows()
	case unlike:
		warm, n, turns = warmTold, n-awayLearns+1, w.beside.knows()
		if w.leapt(no) {
			turns = turnsMany
		}
	}
	since, high := int32(0), false
	if !w.is(k) {
		since, high = g.judge(v, times, least, w.weeks, turns, of, no)
	}
	switch f := &w.found[k]; {
	case high && stays && d.n > warm:
		w.begin(k, since, strength(v, times, max(float64(g.usual), least)), x, d.Usual(int64(no)*bucketMS))
	case !w.is(k):
		g.learn(v, least, n, of)
	case g.low(v, times, least):
		w.end(k, no)
		g.near = no // what follows did not begin before this was over
	case no-f.since > adoptBuckets:
		w.end(k, no)
		g.adopt(v)
		g.near = no
		if k == rate {
			w.seldom = w.often
		}
		return true
	}
	return false
}

// missing judges a metric that was not there in so many buckets in which its device spoke.
func (w *watch) missing(d *Detector, absent uint32, last int32) {
	if w.is(rate) || d.n <= warmLevel || absent < absentLeast || absent < absentMore*w.absence || float64(absent)*float64(w.seldom) < absentRows {
		return
	}
	w.begin(rate, last+1, strength(float64(absent), absentMore, float64(max(w.absence, absentLeast/absentMore))), 0, float64(w.seldom))
}
