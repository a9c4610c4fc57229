package retention

import (
	"testing"
	"time"

	"muster.dev/services/retention/rollup"
)

func TestTheStoreIsGivenTheTimeThatADayOfTheFleetMayTake(t *testing.T) {
	cfg := DefaultConfig()
	if got := cfg.store(); got.Timeout < rollup.StatementTime || got.Validate() != nil {
		t.Errorf("an answer is waited for %v, a statement may take %v", got.Timeout, rollup.StatementTime)
	}
	if cfg.Warehouse.Timeout = time.Hour; cfg.store().Timeout != time.Hour {
		t.Error("an operator's longer timeout is cut")
	}
}
