package stack

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestADiskThatCannotBeAskedIsNotRoomy(t *testing.T) {
	if err := roomy(t.TempDir()); err != nil && !strings.Contains(err.Error(), "make room there") {
		t.Error(err)
	}
	if err := roomy(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "how full") {
		t.Error(err)
	}
}
