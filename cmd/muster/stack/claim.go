package stack

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// claim takes the lock of a file for the caller, or says by EWOULDBLOCK that another has claimed it. Who only looks
// (claimed) shares the lock for that moment: whoever could still share it knows that nobody has claimed it, and tries again.
func claim(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if claimed(f) {
			return err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_UN); err != nil { // two who claim at once must not wait for each other
			return err
		}
		<-time.After(time.Millisecond)
	}
}

// claimed is whether another has claimed a file. The caller lets go of the lock that this may take by closing the file.
func claimed(f *os.File) bool {
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
