package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Stdin reads lines from a file that is this process's alone until they end or ctx does, and answers to w. When they have
// ended, what they said is on the disk.
func Stdin(ctx context.Context, f *os.File, w io.Writer, a Agent, status func() any) error {
	// A file that can wait without a thread can also be closed while somebody reads it.
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	_ = syscall.SetNonblock(fd, true)
	defer func() { _ = syscall.SetNonblock(int(f.Fd()), false) }() // the description is shared, with a shell perhaps
	own := os.NewFile(uintptr(fd), f.Name())
	stop := context.AfterFunc(ctx, func() { own.Close() })
	defer func() {
		if stop() {
			own.Close()
		}
	}()
	if err := Read(own, w, a, status); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("standard input: %w", err)
	}
	return nil
}
