package supervise

import (
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
)

// Lifeline is the pipe by which processes know that their supervisor lives: they inherit the reading end, and nobody else
// has the writing one.
//
// Whether a read of it blocks is one flag for all who have it. Those of os.Pipe are set to block whenever a process is
// started with them: one that was started just before, and had not begun to read, then read without an end, and could not
// stop.
func Lifeline() (watch, life *os.File, err error) {
	var ends [2]int
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := syscall.Pipe(ends[:]); err != nil {
		return nil, nil, fmt.Errorf("opening the pipe that the processes watch: %w", err)
	}
	for _, fd := range ends {
		syscall.CloseOnExec(fd)
	}
	return os.NewFile(uintptr(ends[0]), "watch"), os.NewFile(uintptr(ends[1]), "life"), nil
}

// Watch calls gone once the supervisor on the other end of the inherited descriptor has ended. The returned
// function ends the watch and waits for it.
func Watch(fd int, gone func()) (stop func(), err error) {
	// Non-blocking before os.NewFile looks, so that closing the file interrupts the read below.
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("descriptor %d is not open: --watch-fd is for the supervisor's use", fd)
	}
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "supervisor")
	if st, err := f.Stat(); err != nil || st.Mode()&os.ModeNamedPipe == 0 {
		return nil, fmt.Errorf("descriptor %d is not the supervisor's pipe: --watch-fd is for the supervisor's use", fd)
	}
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		// Nothing is ever written: the read returns when the last writing end is closed, or f is.
		_, _ = io.Copy(io.Discard, f)
		select {
		case <-quit:
		default:
			gone()
		}
	})
	return func() { close(quit); f.Close(); wg.Wait() }, nil
}
