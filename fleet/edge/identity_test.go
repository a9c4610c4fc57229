package edge

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestAnEdgeWithoutAnIdentityIsToldHowToGetOne(t *testing.T) {
	dir := t.TempDir()
	_, err := openIdentity(dir, nil)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "muster device enroll NAME --out "+dir) {
		t.Error(err)
	}
}
