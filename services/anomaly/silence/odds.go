package silence

import "math"

// How losses run, of a device judged alone. The chance phi that a run of misses goes on is not known, and the less is known the
// more a run must be borne. So a run is held against what is predicted of it: the chance of each phi that goes on k times, by
// how much it is believed. That falls slower than phi^k while few runs are known, and becomes that once many are.

// kind is one of the two ways in which losses are known to come: each message has its own luck, or a bad radio is bad for some
// time. A device is believed to be of either with the same chance until its runs tell: each is a beta distribution of phi, given
// as that of having seen so many runs go on, and end.
type kind struct{ on, end float64 }

var kinds = [2]kind{{1, 9}, {7, 3}}

const (
	leastOn = .05 // chance that a run goes on, however many did not: a reboot may follow on one

	// How often runs begin is believed as if a quarter of one had been seen in two gaps and a half: a tenth is the mean, and
	// one who never has any is soon believed not to have many.
	priorRuns, priorGaps = .25, 2.5
	// Of a device that has few runs, this many gaps count, and so many more for each run.
	mostGaps, gapsPerRun = 3_000, 100
)

// countGaps is how many gaps between two signs of life are counted at most, of a device that had so many runs. One that is rare is
// not told from one that is rarer: of runs so rare nobody knows how long they are, either.
func countGaps(runs uint16) uint32 { return mostGaps + gapsPerRun*uint32(runs) }

// begins is the predicted share of gaps that are runs, of a device that had so many runs in so many gaps.
func begins(runs, gaps float64) float64 { return (runs + priorRuns) / (max(gaps, runs) + priorGaps) }

// borne is how many intervals of silence losses explain: the least k so that a run goes on for more with less than a chance, of a
// device whose runs went on in so many cases and ended in others. A silence beyond an outage's length is no loss of messages:
// nothing is learnt of how they run from such, either.
func borne(on, end, chance float64) (k int64) {
	var p [len(kinds)]float64
	likely := 0.
	for i, b := range kinds {
		p[i] = lbeta(b.on+on, b.end+end) - lbeta(b.on, b.end)
	}
	best := max(p[0], p[1])
	for i := range p {
		p[i] = math.Exp(p[i] - best)
		likely += p[i]
	}
	for k = 1; k < outage; k++ {
		sum := 0.
		for i := range p {
			sum += p[i] / likely
		}
		if sum <= chance {
			break
		}
		for i, b := range kinds {
			p[i] *= max(leastOn, (b.on+on+float64(k-1))/(b.on+b.end+on+end+float64(k-1)))
		}
	}
	return k
}

func lbeta(a, b float64) float64 { return lgamma(a) + lgamma(b) - lgamma(a+b) }
