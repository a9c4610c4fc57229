package fast

import (
	"fmt"
	"testing"
	"time"

	"muster.dev/fleet/scenario"
)

func TestTheRegistryIsToldOfSleepThatItHasWordsFor(t *testing.T) {
	for _, c := range []struct {
		every, from, length time.Duration
		want                string
	}{
		{24 * time.Hour, 22 * time.Hour, 8 * time.Hour, "[{127 1320 360}]"},
		{12 * time.Hour, 10 * time.Hour, 3 * time.Hour, "[{127 600 780} {127 1320 60}]"},
		{12 * time.Hour, 22 * time.Hour, 3 * time.Hour, "[{127 600 780} {127 1320 60}]"}, // from the period's beginning
		{7 * time.Hour, 0, time.Hour, "[]"},
		{30 * time.Minute, 0, 10 * time.Minute, "[]"}, // more than a cohort may have
		{24 * time.Hour, 0, 24 * time.Hour, "[]"},
	} {
		got := SleepOf(&scenario.Sleep{Every: c.every, From: scenario.Clocktime(c.from), For: c.length})
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s of each %s from %s: %v, want %s", c.length, c.every, c.from, got, c.want)
		}
	}
	if hours := SleepOf(&scenario.Sleep{Every: time.Hour, From: scenario.Clocktime(30 * time.Minute), For: 30 * time.Minute}); len(hours) != 24 || hours[23].From != 23*60+30 || hours[23].To != 0 {
		t.Errorf("half of each hour: %v", hours)
	}
}
