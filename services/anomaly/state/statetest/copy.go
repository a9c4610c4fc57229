package statetest

import (
	"bytes"
	"io"
	"slices"
	"testing"
)

// Keeper is what writes its state, and reads it.
type Keeper interface {
	Snapshot(io.Writer) error
	Restore(io.Reader) error
}

// Copy puts the state of one into another, which must write the same bytes afterwards.
func Copy(t testing.TB, from, to Keeper) {
	t.Helper()
	var a, b bytes.Buffer
	if err := from.Snapshot(&a); err != nil {
		t.Fatal(err)
	}
	written := slices.Clone(a.Bytes())
	if err := to.Restore(&a); err != nil {
		t.Fatal(err)
	}
	if err := to.Snapshot(&b); err != nil || !bytes.Equal(written, b.Bytes()) {
		t.Fatalf("what was read is written as something else: %v", err)
	}
}
