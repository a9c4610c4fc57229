package silence

import (
	"math"
	"slices"
)

// baseline is what a cohort has taught of itself, and the sums that are held against it.
type baseline struct {
	slots int     // whole ones that were decided
	k     int     // of these, those that taught
	p     float64 // share of the expected devices that are missing
	rho   float64 // over-dispersion: how much they are missing together
	cov   float64 // of the share's residual with the one before
	vari  float64
	prev  float64
	seen  float64    // devices missing, over all slots that taught
	lasts float64    // how many are missing, not counting who misses a slot or two
	s     [3]float64 // CUSUM by alternative
	late  []pair     // of the last slots, from which nothing was learnt yet
}

// pair is what a whole slot was.
type pair struct{ missing, expected uint32 }

// effects are the alternatives: the share of the well devices that has fallen silent.
var effects = [3]float64{.05, .25, .7}

const (
	// behind is how many whole slots later a slot teaches, if by then no sum speaks for a change: a young baseline would
	// take the first slots of a silence for usual.
	behind = 8
	tepid  = 10 // whole slots until a baseline is believed at all, with what is guessed
	slow   = 1. / 2_000
	leastP = .002

	// What is guessed of a cohort that has taught nothing yet: one on a bad radio, whose devices are missing for five intervals
	// when they are. The guess of how many weighs as much as so many slots; that of how long is half believed after so many slots
	// and misses: where hardly any was missing, nothing is known of it.
	priorP  = .1
	priorR  = .01
	priorF  = .85
	guess   = 10
	doubted = 300

	above  = .02 // a share that is less above the usual is no incident, however long it lasts; half of it keeps one open
	settle = .25 // weight of a slot in what lasts
	sudden = 1e-4

	mostTerms = 1 << 20 // devices of which a tail is added up one by one: a few milliseconds
)

// limits come from how many false incidents are borne: Lorden (1971) bounds the mean time between the false alarms of a
// CUSUM of log-likelihood ratios from below by e^h slots, each alternative its own; a tail is looked up each slot.
type limits struct {
	h     float64
	alpha float64
}

func (s *Settings) limits(interval int64) limits {
	_, whole := Grid(interval)
	slots := max(1, weekMS/float64(whole))
	return limits{
		h:     max(5, math.Log(float64(slots*3_000)/s.False)),
		alpha: min(1e-4, float64(.04*s.False)/float64(1_000*slots)),
	}
}

// believed gives share, over-dispersion and autocorrelation as the tests use them. The less a baseline has seen, the less
// good it is believed to be: at first as that of a cohort on a bad radio.
func (b *baseline) believed(n uint32) (p, rho, phi float64) {
	p, rho = max(b.p, leastP), min(max(b.rho, -.05), .5)
	// Where next to nothing was ever missing, what is left of the first guess would look like a trend.
	chance := float64(p*(1-p)) / float64(max(n, 1))
	phi = min(max(b.cov/max(b.vari, chance), 0), .95)
	// How far the share may be above what it was found to be: of a few devices little is known for long.
	known := float64(n) * min(float64(b.k+2), 1/slow)
	p += math.Sqrt(float64(p*(1-p)) * float64(1+float64(max(float64(n)-1, 0)*max(rho, 0))) * (1 + phi) / (1 - phi) / max(known, 1))
	doubt := guess / (guess + float64(b.k))
	p += float64(doubt * max(0, priorP-p))
	rho = max(rho, 0)
	rho += float64(doubt * max(0, priorR-rho))
	heard := (float64(b.k) + b.seen) / doubted
	unsure := 1 / (1 + float64(heard*heard*heard*heard))
	phi += float64(unsure * max(0, priorF-phi))
	return min(p, 1-leastP), max(rho, 0), phi
}

// verdict is what one look at a cohort gives.
type verdict struct {
	fires bool
	weak  bool    // worth a thought if others fire at the same time
	tail  float64 // log10 of the chance that so many are missing
	cusum float64
}

// lasting is how many of u missing devices are missing for longer than by chance. What no chance makes counts at once, the rest
// as it lasts: else a few that miss a slot together would open what those that are gone for good do not.
func (b *baseline) lasting(u, n uint32) float64 {
	x, all := float64(u), float64(n)
	if x <= b.lasts {
		return x
	}
	p, rho := min(max(b.p, leastP), 1-leastP), min(max(b.rho, 0), .5)
	gone := uint32(math.Round(max(0, b.lasts-float64(all*b.p)))) // the others may miss a slot
	if n, u := n-min(gone, n), u-min(gone, u); float64(u) > float64(float64(n)*p)+1 && tail(int(n), int(u), p, rho) < sudden {
		return x
	}
	return b.lasts
}

// look holds a look against the baseline: missing devices u of n. open says that there is an incident.
func (b *baseline) look(u, n uint32, l limits, open bool) (v verdict) {
	p, rho, _ := b.believed(n)
	x, all := float64(u), float64(n)
	if x > float64(all*p)+1 {
		t := tail(int(n), int(u), p, rho)
		v.tail = math.Log10(max(t, 1e-300))
		v.fires, v.weak = t < l.alpha, t < 1e-3
	}
	v.cusum = max(b.s[0], b.s[1], b.s[2])
	least := above
	if open {
		least = above / 2
	}
	if limit := float64(all * (p + least)); v.cusum >= l.h && x >= limit && b.lasting(u, n) >= limit {
		v.fires, v.weak = true, true
	}
	return v
}

// whole takes a whole slot into the sums, and teaches the baseline unless something is going on. calm says that no sum
// speaks for any change: a silence that is told later began after it.
func (b *baseline) whole(u, n uint32, l limits, open bool) (calm bool) {
	b.slots++
	if b.slots == 1 {
		b.lasts = float64(u)
	}
	if lasting := b.lasting(u, n); lasting > b.lasts {
		b.lasts = lasting
	} else {
		b.lasts += float64(settle * (float64(u) - b.lasts))
	}
	p, rho, phi := b.believed(n)
	x, all := float64(u), float64(n)
	if b.slots > tepid {
		d := (1 + float64((all-1)*rho)) * (1 + phi) / (1 - phi)
		for i, e := range effects {
			p1 := p + float64(e*(1-p))
			gain := (float64(x*math.Log(p1/p)) + float64((all-x)*math.Log((1-p1)/(1-p)))) / d
			b.s[i] = min(max(0, b.s[i]+gain), 3*l.h)
		}
	}
	v := b.look(u, n, l, open)
	if open || v.fires || v.cusum >= l.h/2 || v.tail <= math.Log10(l.alpha)/2 {
		b.late = b.late[:0]
	} else if b.late = append(b.late, pair{u, n}); len(b.late) > behind || b.slots <= tepid {
		for _, old := range b.late[:max(1, len(b.late)-behind)] {
			b.learn(float64(old.missing), float64(old.expected))
		}
		b.late = slices.Delete(b.late, 0, max(1, len(b.late)-behind))
	}
	if b.slots <= tepid {
		return x <= float64(all*p)
	}
	return b.s[0] == 0
}

// learn moves the baseline. Its weight falls with what it has seen, to that of a week of 5-minute slots. How devices are
// missing together is learnt once the share is roughly known: a wrong one looks like both. One slot teaches only so much:
// else the first slots of a silence would make the rest look usual.
func (b *baseline) learn(x, all float64) {
	b.k++
	b.seen = min(b.seen+x, 1e9)
	p := min(max(b.p, leastP), 1-leastP)
	spread := float64(all * p * (1 - p))
	x = min(x, float64(all*p)+float64(4*math.Sqrt(float64(spread*(1+float64((all-1)*min(max(b.rho, 0), .5))))))+1)
	e := x/all - b.p
	if b.k <= tepid {
		b.p += e / float64(b.k+2)
		return
	}
	w := max(slow, 1/float64(b.k-tepid+20))
	b.p += float64(max(slow, 1/float64(b.k+2)) * e)
	if all > 1 {
		off := x - float64(all*p)
		b.rho += float64(w * ((float64(off*off)/spread-1)/(all-1) - b.rho))
	}
	b.cov += float64(w * (float64(e*b.prev) - b.cov))
	b.vari += float64(w * (float64(e*e) - b.vari))
	b.prev = e
}

// tail is the chance that u or more of n are missing: a beta-binomial with mean p and over-dispersion rho. Where devices
// differ in their own chance, it bounds the true one from above for u >= n*p+1 (Hoeffding 1956).
func tail(n, u int, p, rho float64) float64 {
	if n > mostTerms { // as of a part of the cohort: of as many as are met, the chance hangs on the share alone
		n, u = mostTerms, int(float64(u)/float64(n)*mostTerms)
	}
	if u <= 0 {
		return 1
	}
	a, b := math.Inf(1), math.Inf(1)
	if rho >= 1e-6 {
		a, b = p*(1-rho)/rho, (1-p)*(1-rho)/rho
	}
	x, all := float64(u), float64(n)
	term := math.Exp(choose(all, x) + beta(x, all-x, a, b, p))
	sum := 0.
	for ; term > 0; x++ {
		sum += term
		if x >= all || term < sum*1e-9 {
			break
		}
		ratio := p / (1 - p)
		if rho >= 1e-6 {
			ratio = (x + a) / (all - x - 1 + b)
		}
		term *= (all - x) / (x + 1) * ratio
	}
	return min(1, sum)
}

func choose(n, x float64) float64 { return lgamma(n+1) - lgamma(x+1) - lgamma(n-x+1) }

// beta is the logarithm of the chance of one certain outcome with x missing and y well.
func beta(x, y, a, b, p float64) float64 {
	if math.IsInf(a, 1) {
		return float64(x*math.Log(p)) + float64(y*math.Log(1-p))
	}
	return lgamma(x+a) + lgamma(y+b) - lgamma(x+y+a+b) - (lgamma(a) + lgamma(b) - lgamma(a+b))
}

func lgamma(x float64) float64 {
	v, _ := math.Lgamma(x)
	return v
}
