package main

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if program.path != "" {
			os.RemoveAll(filepath.Dir(program.path))
		}
		os.Exit(code)
	}))
}
