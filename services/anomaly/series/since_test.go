package series

import "testing"

// A distance that was never small since it is looked at began when it was first looked at, and not in 1970; one that comes
// after an end began after it.
func TestWhatIsFoundBeganNeitherBeforeItsSeriesNorBeforeTheLastOneEnded(t *testing.T) {
	const first = 5_000_000 // a bucket of 2017
	var w watch
	d := Detector{n: warmTold + 1_000}
	w.alone.usual = .01
	step := func(no int32, v float64) {
		w.gauge(departure, &w.alone.gauge, v, awayTimes, awayLeast, true, &d, no, v)
	}
	no := int32(first)
	for ; !w.is(departure); no++ {
		if no > first+10 {
			t.Fatal("a hundred times the usual distance is nothing")
		}
		step(no, 100*awayLeast)
	}
	if since := w.found[departure].since; since != first+1 {
		t.Errorf("it began in bucket %d, and was first looked at in %d", since, first)
	}
	for ; w.is(departure); no++ {
		step(no, float64(awayTimes)/2.5*max(float64(w.alone.usual), awayLeast)) // back, and not yet far from standing out
	}
	over := no - 1
	for ; !w.is(departure); no++ {
		if no > over+10 {
			t.Fatal("the second time is nothing")
		}
		step(no, 1_000*awayLeast)
	}
	if since := w.found[departure].since; since <= over {
		t.Errorf("it began in bucket %d, before the one that ended in %d was over", since, over)
	}
}
