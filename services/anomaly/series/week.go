package series

import "math"

const (
	hourBuckets = 12
	weekHours   = 168
	weekKeep    = .7 // of what the same hour was like before
)

// week remembers how far from its place a crowd was in each hour of a week: a weekend is none of the detector's days, and
// who was told of one needs not hear of the next.
type week struct {
	far  [weekHours]float32
	late [2]float32 // of the hour before the newest, and of the newest: what has just begun is no habit
	hour int32      // the newest, since 1970
}

// knows says whether it was as far away, the same way, at this hour of the week before, or in the hours beside it.
func (w *week) knows(hour int32, away float64) bool {
	for k := hour - 1; k <= hour+1; k++ {
		if far := float64(w.far[k%weekHours]); far*away > 0 && math.Abs(away) <= memoryMore*math.Abs(far) {
			return true
		}
	}
	return false
}

// see takes how far away it is in an hour.
func (w *week) see(hour int32, away float64) {
	for w.hour < hour {
		if hour-w.hour > weekHours {
			w.hour = hour - weekHours
		}
		if k := w.hour - 1; k >= 0 {
			of := &w.far[k%weekHours]
			if *of *= weekKeep; math.Abs(float64(w.late[0])) > math.Abs(float64(*of)) {
				*of = w.late[0]
			}
		}
		w.late, w.hour = [2]float32{w.late[1]}, w.hour+1
	}
	if math.Abs(away) > math.Abs(float64(w.late[1])) {
		w.late[1] = float32(away)
	}
}

// ofWeekend says whether what began in one bucket, and lasts in another, may be a weekend: it begins when it is Saturday
// somewhere, and it is not Monday everywhere yet. Until a week is known nothing else can be said of it.
func ofWeekend(since, no int32) bool {
	const friday = 1 * weekBuckets / 7 // 1970 began on a Thursday
	in := (since - friday + weekBuckets) % weekBuckets
	return in >= 12*hourBuckets && in < 36*hourBuckets && in+no-since < 84*hourBuckets
}

// onWeekend says the same of what begins when it is Saturday or Sunday somewhere.
func onWeekend(since, no int32) bool {
	const friday = 1 * weekBuckets / 7
	in := (since - friday + weekBuckets) % weekBuckets
	return in >= 12*hourBuckets && in < 84*hourBuckets && in+no-since < 84*hourBuckets
}

func (w *week) fields(c codec) {
	for i := range w.far {
		c.float32(&w.far[i])
	}
	c.float32(&w.late[0], &w.late[1])
	c.int32(&w.hour)
}
