package warehouse_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"muster.dev/platform/warehouse/warehousetest"
)

func TestMain(m *testing.M) {
	code := warehousetest.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString("goroutines are left: " + err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}
