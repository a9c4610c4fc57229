package update

import (
	"math"
	"slices"
)

// grid is the odds ratios whose likelihood is kept: those that fail and pass are made of, and more for the interval.
var grid = [...]float64{.03, .06, .12, .25, .35, .5, .7, .9, 1, 1.2, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6.5, 8, 10, 13, 18, 25, 40, 65, 100}

var failingOdds = [...]float64{1.5, 2, 3, 5, 8, 13, 25, 65}

// The alternatives of fail and of pass, and what the interval is made of, as places in the grid. Of all that were drawn it is
// the update that kills at once that has to be found, by few failures: those that it does not kill are found as they begin.
var (
	failing = places(failingOdds[:]...)
	drawing = places(5, 25, 100)
	passing = places(.25, .5, .7, .9, 1, 1.2)
	all     = places(grid[:]...)
)

const (
	margin = len(grid) // the place of the rollout's own margin, behind the grid
	points = margin + 1
	nano   = 1e9

	// most is the largest odds ratio that is told: beyond it, and where no control failed, there is no bound.
	most = 1_000
	// sure is how wrong the interval may ever be.
	sure = .05
)

func places(psis ...float64) (out []int) {
	for _, psi := range psis {
		out = append(out, slices.Index(grid[:], psi))
	}
	return out
}

// evidence is the likelihood of each odds ratio against that of 1, over all rounds so far. It is kept in whole nanonats,
// so that its sum does not depend on the order of the rounds.
type evidence struct {
	log [points]int64
	// Mantel and Haenszel's estimate is over/under, in nano.
	over, under int64
}

// round is a stratum's tick: of treated and control devices at risk, so many failed.
type round struct {
	riskT, riskC, failT, failC int
}

// mostFalls is how many failures of one tick are weighed one by one; of more, as many as are left by halving.
const mostFalls = 1 << 20

// add takes a round. Only one in which both arms were at risk says anything.
func (e *evidence) add(r round, own float64) {
	d := r.failT + r.failC
	if d == 0 || r.riskT <= 0 || r.riskC <= 0 || r.failT > r.riskT || r.failC > r.riskC {
		return
	}
	for r.failT+r.failC > mostFalls {
		r = round{(r.riskT + 1) / 2, (r.riskC + 1) / 2, r.failT / 2, r.failC / 2}
		d = r.failT + r.failC
	}
	weights := r.weights()
	least := max(0, d-r.riskC)
	base := logSum(weights, 0)
	for i := range points {
		psi := own
		if i < margin {
			psi = grid[i]
		}
		ln := math.Log(psi)
		e.log[i] += toNano(float64(float64(r.failT-least)*ln) - logSum(weights, ln) + base)
	}
	n := float64(r.riskT + r.riskC)
	e.over += toNano(float64(r.failT) * float64(r.riskC-r.failC) / n)
	e.under += toNano(float64(r.failC) * float64(r.riskT-r.failT) / n)
}

// weights are the logs of C(riskT, j) C(riskC, d-j), for each j that is possible, against the first.
func (r round) weights() []float64 {
	d := r.failT + r.failC
	from, to := max(0, d-r.riskC), min(d, r.riskT)
	out := make([]float64, 0, to-from+1)
	sum := 0.0
	for j := from; ; j++ {
		out = append(out, sum)
		if j == to {
			return out
		}
		sum += math.Log(float64(r.riskT-j) * float64(d-j) / (float64(j+1) * float64(r.riskC-d+j+1)))
	}
}

// logSum is log sum exp(weights[j] + j ln).
func logSum(weights []float64, ln float64) float64 {
	top := math.Inf(-1)
	for j, w := range weights {
		top = max(top, float64(float64(j)*ln)+w)
	}
	sum := 0.0
	for j, w := range weights {
		sum += math.Exp(float64(float64(j)*ln) + w - top)
	}
	return top + math.Log(sum)
}

func toNano(x float64) int64 { return int64(math.Round(x * nano)) }

// against is the log of the mean of the likelihoods at the places, against that at one place; -1 is the odds ratio 1.
func (e *evidence) against(places []int, at int) float64 {
	base := int64(0)
	if at >= 0 {
		base = e.log[at]
	}
	logs := make([]float64, len(places))
	for i, p := range places {
		logs[i] = float64(e.log[p]-base) / nano
	}
	return logSum(logs, 0) - math.Log(float64(len(logs)))
}

// fail is the log of the e-value against "no worse".
func (e *evidence) fail() float64 { return e.against(failing, -1) }

// kills is the log of the e-value against "no worse", of all that were drawn.
func (e *evidence) kills() float64 { return e.against(drawing, -1) }

// pass is the log of the e-value against "worse by the margin or more".
func (e *evidence) pass() float64 { return e.against(passing, margin) }

// effect is the odds ratio, and an interval that holds at any time with probability 1-sure.
func (e *evidence) effect() (effect, low, high float64) {
	switch {
	case e.over == 0 && e.under == 0:
		effect = 1
	case e.under == 0:
		effect = most
	default:
		effect = min(most, float64(e.over)/float64(e.under))
	}
	low, high = -1, -1
	limit := -math.Log(sure)
	for i := range grid {
		if e.against(all, i) >= limit {
			continue
		}
		if low < 0 {
			low = 0
			if i > 0 {
				low = grid[i-1] // the border lies between the two
			}
		}
		high = most
		if i+1 < len(grid) {
			high = grid[i+1]
		}
	}
	if low < 0 { // the truth lies off the grid
		if effect > 1 {
			return effect, grid[len(grid)-1], most
		}
		return effect, 0, grid[0]
	}
	return effect, min(low, effect), max(high, effect)
}

// installs is the log of the e-value against "at most the share in a million fails", of so many installs that were begun.
// One whose end is not known counts as good: that can only make it less.
func installs(begun, failed uint32, ppm uint32) float64 {
	bear := float64(ppm) / 1e6
	qs := [...]float64{.1, .2, .4}
	logs := make([]float64, len(qs))
	for i, q := range qs {
		q = max(q, bear) // a share below the one that is borne would make good installs evidence against it
		logs[i] = float64(float64(failed)*math.Log(q/bear)) + float64(float64(begun-min(begun, failed))*math.Log((1-q)/(1-bear)))
	}
	return logSum(logs, 0) - math.Log(float64(len(qs)))
}

// rare is the log of the e-value against "the share in a million fails, or more", of so many devices that were watched
// to the end of their soak.
func rare(watched, failed uint32, ppm uint32) float64 {
	m := float64(ppm) / 1e6
	if m <= 0 {
		return math.Inf(-1)
	}
	logs := []float64{math.Inf(-1), math.Inf(-1), math.Inf(-1)}
	for i, x := range [...]struct{ weight, q float64 }{{.5, 0}, {.25, m / 10}, {.25, m / 4}} {
		if x.q == 0 && failed > 0 {
			continue
		}
		logs[i] = math.Log(x.weight) + float64(float64(watched-min(watched, failed))*math.Log((1-x.q)/(1-m)))
		if failed > 0 {
			logs[i] += float64(float64(failed) * math.Log(x.q/m))
		}
	}
	return logSum(logs, 0)
}

// smallest is the least odds ratio that had an even chance to be seen, by the time that both arms were watched and by
// how often controls fail; most if none had.
func smallest(exposureT, exposureC float64, failC uint32, need float64) float64 {
	if exposureT <= 0 || exposureC <= 0 {
		return most
	}
	rate := (float64(failC) + .5) / exposureC
	null := exposureT / (exposureT + exposureC)
	for psi := 1.05; psi < most; psi *= 1.05 {
		t, c := float64(psi*rate)*exposureT, rate*exposureC
		p := t / (t + c)
		if (t+c)*(float64(p*math.Log(p/null))+float64((1-p)*math.Log((1-p)/(1-null)))) >= need {
			return math.Round(psi*100) / 100
		}
	}
	return most
}
