package series

import (
	"fmt"
	"time"
)

// Settings of a Bank and of Peers.
type Settings struct {
	// Series is the budget: how many series a Bank holds. One takes about 2 KiB.
	Series int
	// Late is how long after its end a bucket waits for rows that are on their way.
	Late time.Duration
	// Threshold is the score from which on a value is told. .09 marks a chart well; in a fleet it is an alarm a day in
	// each few dozen series, so that an incident takes more.
	Threshold float64
	// False is how many false incidents are borne in 1,000 weeks of a cohort, as far as a Bank has it: the more series
	// there are, the more each has to stand out.
	False float64
}

// DefaultSettings are for one shard.
func DefaultSettings() Settings {
	return Settings{Series: 10_000, Late: time.Minute, Threshold: .30, False: 25}
}

// Validate says what cannot be.
func (s Settings) Validate() error {
	switch {
	case s.Series < 0 || s.Series > 10_000_000:
		return fmt.Errorf("series: the budget is %d: it must be 0 to 10000000 for each partition", s.Series)
	case s.Late < 0 || s.Late > time.Hour:
		return fmt.Errorf("series: late is %v: it must be 0s to 1h", s.Late)
	case !(s.Threshold > 0 && s.Threshold <= 1):
		return fmt.Errorf("series: the threshold is %v: it must be more than 0, at most 1", s.Threshold)
	case !(s.False >= .001 && s.False <= 10_000):
		return fmt.Errorf("series: %v false incidents in 1,000 weeks: it must be 0.001 to 10000", s.False)
	}
	return nil
}

// Names tells how the devices and cohorts are called whose indexes a Bank is given.
type Names struct {
	Device func(i int32) string
	Cohort func(c int32) string
}
