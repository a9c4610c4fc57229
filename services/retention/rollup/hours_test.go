package rollup

import (
	"slices"
	"testing"
)

func TestHoursSpanDaysAndStopAtTheLimit(t *testing.T) {
	for name, c := range map[string]struct {
		first, last, limit int64
		want               []int64
	}{
		"one hour":          {first: 30, last: 30, limit: 100, want: []int64{30}},
		"over midnight":     {first: 22, last: 25, limit: 100, want: []int64{22, 23, 24, 25}},
		"an open end":       {first: 22, last: 40, limit: 24, want: []int64{22, 23}},
		"all open":          {first: 50, last: 60, limit: 50, want: nil},
		"before 1970":       {first: -5, last: 1, limit: 50, want: []int64{0, 1}},
		"backwards":         {first: 9, last: 3, limit: 50, want: nil},
		"the end of a day":  {first: 47, last: 47, limit: 50, want: []int64{47}},
		"three whole days?": {first: 23, last: 49, limit: 48, want: []int64{23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47}},
	} {
		h := hours{}
		h.add(c.first, c.last, c.limit)
		var got []int64
		for _, day := range h.days() {
			got = append(got, slices.Collect(h.of(day))...)
		}
		if !slices.Equal(got, c.want) || h.len() != len(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestDaysWithoutRawRowsAreLeftAlone(t *testing.T) {
	h := hours{}
	h.add(0, 24*10, 24*10)
	h.keep([]int64{2, 3, 77})
	if got := h.days(); !slices.Equal(got, []int64{2, 3}) {
		t.Errorf("%v", got)
	}
}

func TestTheNewestDaysAreTakenADaysWorthAtATime(t *testing.T) {
	h := hours{}
	for day := range int64(30) {
		h.add(day*24, day*24, 1<<40)
	}
	h.add(30*24, 30*24+22, 1<<40)
	if got := h.newest(); !slices.Equal(got, []int64{30, 29}) {
		t.Errorf("%v", got)
	}
	old := h.before(29)
	if len(old) != 29 || len(h) != 2 {
		t.Errorf("%v and %v", old, h)
	}
	if got := old.newest(); len(got) != 24 || got[0] != 28 || got[23] != 5 {
		t.Errorf("%v", got)
	}
	old.merge(hours{28: 2})
	if n := old.drop(28); n != 2 || len(old) != 28 {
		t.Errorf("%d hours, %d days left", n, len(old))
	}
}

func TestDatesAndDaysAgree(t *testing.T) {
	for date, day := range map[uint32]int64{19700101: 0, 20240229: 19782, 20261122: 20779} {
		if dayOf(date) != day {
			t.Errorf("%d is day %d, want %d", date, dayOf(date), day)
		}
	}
	if dateOf(20779) != "20261122" {
		t.Error(dateOf(20779))
	}
}
