package rollup

import (
	"testing"
	"time"
)

// old stores a message of one reading a day, back from a time, as the sink stores what was old when it came.
func (h house) old(off int, device string, t0 time.Time, days int) {
	h.t.Helper()
	h.exec(`INSERT INTO ${DB}.s_old (class, metric, device_no, device, ts, value, int, text, scale, fw, topic_gen, part, off)
SELECT 'standard', 'temp_c', 1, '%s', fromUnixTimestamp64Milli(toInt64(%d - number * 86400000), 'UTC'), number / 10, NULL, '', 1, '1', 1, 0, %d
FROM numbers(%d)`, device, t0.UnixMilli(), off, days)
	h.ledger(off, "stored", t0.AddDate(0, 0, 1-days), t0, days)
}

// An import of years touches days by the thousand; today's hours do not wait for it.
func TestOldDaysAreComputedBehindTheRecentOnes(t *testing.T) {
	const days = 60
	h := open(t)
	r := newRollup(h)
	r.oldTime = 0
	once := func(r *Rollup) {
		t.Helper()
		if err := r.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	recent := func(device string) int64 {
		t.Helper()
		return h.number("SELECT count() FROM ${DB}.samples_1h WHERE device = '%s'", device)
	}
	h.message(0, "a", h.past(3), 100)
	h.old(1, "import", h.past(40*24), days)
	once(r)
	if recent("a") == 0 || recent("import") != 0 || r.Behind() != days {
		t.Fatalf("%d hours of today, %d old ones, %d days left", recent("a"), recent("import"), r.Behind())
	}
	h.message(2, "b", h.past(4), 60)
	h.old(3, "import", h.past(40*24+1), days) // the same days again
	once(r)
	if recent("b") == 0 || r.Behind() != 2*days {
		t.Errorf("%d hours of today, %d days left", recent("b"), r.Behind())
	}
	if p, err := r.load(t.Context()); err != nil || len(p.positions) != 0 {
		t.Errorf("the progress is kept before the old days are computed: %+v, %v", p, err)
	}

	other := newRollup(h) // the first died, and what it knew of old days with it
	other.oldTime = time.Minute
	began := time.Now()
	h.pass(other)
	t.Logf("%d old days in %v", days, time.Since(began))
	h.check("old days")
	if n := recent("import"); n != 2*days {
		t.Errorf("%d old hours, want %d", n, 2*days)
	}
	h.old(4, "import", h.past(40*24+1), 3) // late, and twice
	h.ledger(5, "duplicate", h.past(44*24), h.past(40*24), 3)
	h.pass(other)
	h.check("late old readings")
	if p, err := other.load(t.Context()); err != nil || p.positions[partition{1, 0}].off != 6 {
		t.Errorf("%+v, %v", p, err)
	}
}
