package spend

import (
	"errors"
	"fmt"
	"math"
)

// Settings of a Meter and of Forecasts. All shards and the judge have the same.
type Settings struct {
	// Names is how many pairs of cohort and metric are counted apart; what is beyond them is counted by cohort alone.
	Names int
	// Currency is what the prices are in, as it is to be told.
	Currency string
	// PerMillion values, and PerGB of records' bytes. Where both are 0, costs are told in values.
	PerMillion, PerGB float64
	// Rise is the share of the cohort's monthly cost from which on a rise is told.
	Rise float64
}

// DefaultSettings know no price.
func DefaultSettings() Settings {
	return Settings{Names: 10_000, Currency: "USD", Rise: .20}
}

// Validate names the key that cannot be.
func (s Settings) Validate() error {
	switch bad := func(v float64) bool { return math.IsNaN(v) || v < 0 || v > 1e9 }; {
	case s.Names < 1 || s.Names > 1_000_000:
		return fmt.Errorf("names: %d is not within 1 and 1,000,000", s.Names)
	case len(s.Currency) > 16:
		return errors.New("currency: it has more than 16 bytes")
	case bad(s.PerMillion):
		return fmt.Errorf("per_million: %v is no price", s.PerMillion)
	case bad(s.PerGB):
		return fmt.Errorf("per_gb: %v is no price", s.PerGB)
	case bad(s.Rise) || s.Rise == 0:
		return fmt.Errorf("rise: %v is no share above 0", s.Rise)
	}
	return nil
}
