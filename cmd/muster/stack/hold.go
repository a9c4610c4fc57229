package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Hold has the running stack stop a process, and waits until it has. The process starts again when the returned
// function is called, or when the caller ends, however it ends: the hold is a lock that the kernel lets go.
func (d Dir) Hold(ctx context.Context, process string) (release func(), err error) {
	f, err := os.OpenFile(d.holdFile(process), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("holding %s: %w", process, err)
	}
	if err := claim(f); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("holding %s: another command holds it already: %w", process, err)
		}
		return nil, fmt.Errorf("holding %s: %w", process, err)
	}
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		if _, err := os.Stat(d.RunFile(process)); errors.Is(err, fs.ErrNotExist) {
			return func() { f.Close() }, nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for %s to stop: %w", process, context.Cause(ctx))
		}
	}
}

// held is the supervisor's side.
func (d Dir) held(process string) bool {
	f, err := os.Open(d.holdFile(process))
	if err != nil {
		return false
	}
	defer f.Close() // lets go of the lock that the next line may take
	return claimed(f)
}

func (d Dir) holdFile(process string) string { return d.in("run", process+".hold") }
