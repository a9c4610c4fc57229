package series

import (
	"cmp"
	"math"
	"slices"
)

// Labelled is a series' scores and the windows in which something was to be found.
type Labelled struct {
	Name    string
	At      []int64 // Unix ms of the rows
	Score   []float64
	Windows [][2]int64 // first and last instant, in order
}

// Profile says what a hit, a miss and a false row weigh.
type Profile struct {
	Name                  string
	Hit, Miss, FalseAlarm float64
}

// Profiles are those of the Numenta Anomaly Benchmark, the standard one first.
func Profiles() []Profile {
	return []Profile{{"standard", 1, 1, .11}, {"low_fp", 1, 1, .22}, {"low_fn", 1, 2, .11}}
}

// Result is what scores are worth: 0 is no detection at all, 100 is each window found at its first row and no false one.
type Result struct {
	Score     float64
	Threshold float64 // rows from it on are alarms
	Windows   int
	Found     int // windows
	False     int // rows outside of windows
}

// Best searches for the one threshold for all series that scores best; 1.1, which nothing reaches, if none does.
func Best(series []Labelled, p Profile) Result { return judge(series, p, math.NaN()) }

// At judges at a threshold.
func At(series []Labelled, p Profile, threshold float64) Result { return judge(series, p, threshold) }

// judged is one row: a part of a window, or a false one.
type judged struct {
	score, worth float64
	window       int // -1: none
}

func judge(series []Labelled, p Profile, threshold float64) Result {
	var rows []judged
	windows := 0
	for i := range series {
		rows = series[i].parts(rows, p, windows)
		windows += len(series[i].Windows)
	}
	slices.SortStableFunc(rows, func(a, b judged) int { return cmp.Compare(b.score, a.score) })
	worth := make([]float64, windows)
	for i := range worth {
		worth[i] = -p.Miss
	}
	all := float64(float64(windows) * p.Miss)
	now := Result{Score: -all, Threshold: threshold, Windows: windows}
	best := now
	best.Threshold = 1.1
	for i := 0; i < len(rows) && !(rows[i].score < threshold); {
		for level := rows[i].score; i < len(rows) && rows[i].score == level; i++ {
			now.count(rows[i], worth, p)
			now.Threshold = level
		}
		if now.Score > best.Score {
			best = now
		}
	}
	if !math.IsNaN(threshold) {
		best, best.Threshold = now, threshold
	}
	if windows > 0 {
		best.Score = 100 * (best.Score + all) / (float64(windows) * (p.Hit + p.Miss))
	}
	return best
}

func (r *Result) count(row judged, worth []float64, p Profile) {
	if row.window < 0 {
		r.Score += row.worth
		r.False++
		return
	}
	before := worth[row.window]
	if before == -p.Miss {
		r.Found++
	}
	gain := max(0, row.worth-before)
	worth[row.window] = before + gain
	r.Score += gain
}

// sigmoid is the worth of a row by its place: -1 is a window's first row, 0 its last, above 0 is behind it.
func sigmoid(position float64) float64 {
	if position > 3 {
		return -1
	}
	return 2/(1+math.Exp(5*position)) - 1
}

// parts appends the rows that count: the first 15 % of a series, at most 750 rows, do not.
func (l *Labelled) parts(rows []judged, p Profile, first int) []judged {
	type span struct{ left, right, window int }
	var ahead []span
	for k, w := range l.Windows {
		s := span{-1, -1, first + k}
		for i, at := range l.At {
			if at >= w[0] && at <= w[1] {
				if s.left < 0 {
					s.left = i
				}
				s.right = i
			}
		}
		if s.left >= 0 {
			ahead = append(ahead, s)
		}
	}
	skip := min(len(l.At)*15/100, 750)
	var behind *span
	for i := range l.At {
		for len(ahead) > 0 && i > ahead[0].right {
			behind, ahead = &ahead[0], ahead[1:]
		}
		switch {
		case i < skip:
		case len(ahead) > 0 && i >= ahead[0].left:
			length := float64(ahead[0].right - ahead[0].left + 1)
			place := -float64(ahead[0].right-i+1) / length
			rows = append(rows, judged{l.Score[i], sigmoid(place) / sigmoid(-1) * p.Hit, ahead[0].window})
		case behind == nil:
			rows = append(rows, judged{l.Score[i], -p.FalseAlarm, -1})
		default:
			place := float64(i-behind.right) / float64(max(behind.right-behind.left, 1))
			rows = append(rows, judged{l.Score[i], sigmoid(place) * p.FalseAlarm, -1})
		}
	}
	return rows
}
