package fast

import (
	"fmt"
	"testing"
	"time"

	"muster.dev/fleet/scenario"
	"muster.dev/proto/event"
)

func TestTheRegistryIsToldOfSleepThatItHasWordsFor(t *testing.T) {
	for _, c := range []struct {
		every, from, length time.Duration
		want                string
	}{
		{24 * time.Hour, 22 * time.Hour, 8 * time.Hour, "[{127 1320 360}]"},
		{12 * time.Hour, 10 * time.Hour, 3 * time.Hour, "[{127 600 780} {127 1320 60}]"},
		{12 * time.Hour, 22 * time.Hour, 3 * time.Hour, "[{127 600 780} {127 1320 60}]"}, // from the period's beginning
		{5 * time.Hour, 0, time.Hour, "[]"},                                              // never the same two weeks
		{48 * time.Hour, 12 * time.Hour, 20 * time.Hour, "[]"},
		{84 * time.Hour, 20 * time.Hour, 8 * time.Hour, "[{8 1200 240} {1 480 960}]"}, // on Thursday, and half a week later, on Monday
		{7 * 24 * time.Hour, 30 * time.Minute, time.Hour, "[{8 30 90}]"},              // on Thursdays
		{7 * 24 * time.Hour, 0, 48 * time.Hour, "[{24 0 720} {24 720 0}]"},            // Thursdays and Fridays
		{7 * 24 * time.Hour, 18 * time.Hour, 30 * time.Hour, "[{8 1080 360} {16 360 1080} {16 1080 0}]"},
		{30 * time.Minute, 0, 10 * time.Minute, "[]"}, // more than a cohort may have
		{24 * time.Hour, 0, 24 * time.Hour, "[]"},
	} {
		got := SleepOf(&scenario.Sleep{Every: c.every, From: scenario.Clocktime(c.from), For: c.length})
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s of each %s from %s: %v, want %s", c.length, c.every, c.from, got, c.want)
		}
	}
	if hours := SleepOf(&scenario.Sleep{Every: 7 * time.Hour, For: time.Hour}); len(hours) != 24 || hours[1] != (event.Sleep{Days: 8, From: 7 * 60, To: 8 * 60}) {
		t.Errorf("an hour of each seven: %v", hours)
	}
	if hours := SleepOf(&scenario.Sleep{Every: time.Hour, From: scenario.Clocktime(30 * time.Minute), For: 30 * time.Minute}); len(hours) != 24 || hours[23].From != 23*60+30 || hours[23].To != 0 {
		t.Errorf("half of each hour: %v", hours)
	}
}
