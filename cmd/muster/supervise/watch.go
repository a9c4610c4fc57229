package supervise

import (
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
)

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
