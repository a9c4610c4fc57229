package daemon

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestADurationInTheLogHasItsUnit(t *testing.T) {
	var out bytes.Buffer
	NewLog(&out, slog.LevelInfo, "sink", "test").Warn("the store does not answer", "again_in", 1500*time.Millisecond)
	if !strings.Contains(out.String(), `"again_in":"1.5s"`) {
		t.Error(out.String())
	}
}
