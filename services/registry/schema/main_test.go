package schema

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"muster.dev/platform/warehouse/warehousetest"
)

func TestMain(m *testing.M) {
	code := warehousetest.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}
