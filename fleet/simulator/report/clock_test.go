package report

import "testing"

func TestAClockThatRunsAwayGivesTheTrueTimeAllTheSame(t *testing.T) {
	var c Clock
	const interval = 5 * minute
	skew := func(at int64) int64 { return -20_000 - (at-begins)/20_000 } // 50 in a million slow
	for made := begins; made < at(28, 0); made += interval {
		c.See(made, skew(made), interval)
	}
	if n := len(c.changes); n > 20 {
		t.Errorf("%d changes are remembered of a clock that lost two minutes", n)
	}
	for made := begins + 7*minute; made < at(28, 0); made += 17 * hour {
		if off := c.True(made+skew(made)) - made; off < -interval/20 || off > interval/20 {
			t.Errorf("%d ms beside the true time", off)
		}
	}
}

func TestAClockThatWasSetAndSetBackGivesTheTrueTimeInBetween(t *testing.T) {
	var c Clock
	for i := range int64(48) {
		off := int64(0)
		if i >= 12 && i < 36 {
			off = hour / 12 // within what the store believes
		}
		c.See(at(0, i), off, hour)
	}
	for _, made := range []int64{at(0, 3), at(0, 12), at(0, 20), at(0, 35), at(0, 40)} {
		shown := made
		if made >= at(0, 12) && made < at(0, 36) {
			shown += hour / 12
		}
		if got := c.True(shown); got != made {
			t.Errorf("shown %d h: true %d min beside", (shown-begins)/hour, (got-made)/minute)
		}
	}
}

func TestAClockThatNobodyBelievesIsNotPutRight(t *testing.T) {
	var c Clock
	c.See(at(0, 1), -3*365*day, hour)
	c.See(at(0, 2), 20*minute, hour)
	if got := c.True(at(0, 3)); got != at(0, 3) {
		t.Errorf("%d ms beside the time of arrival, which the store takes instead", got-at(0, 3))
	}
}

func TestAMessageThatCameLateSaysNothingOfTheClock(t *testing.T) {
	var c Clock
	c.See(at(0, 5), minute, minute)
	c.See(at(0, 1), 3*minute, minute)
	if got := c.True(at(0, 6) + minute); got != at(0, 6) {
		t.Errorf("%d ms beside the true time", got-at(0, 6))
	}
}
