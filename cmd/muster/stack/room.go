package stack

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// tight is the free space below which the log or the store says that it is not ready. They go on until nothing is left:
// it is the warning, not the wall.
const tight = 64 << 20

// roomy is an error when the disk that holds dir is nearly full.
func roomy(dir string) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("asking how full the disk of %s is: %w", dir, err)
	}
	if free := st.Bavail * uint64(st.Bsize); free < tight {
		return fmt.Errorf("%d MiB are free where %s lies, want %d: make room there", free>>20, dir, tight>>20)
	}
	return nil
}

// answers gives a probe less time than who asks for readiness waits.
func answers(check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	return check(ctx)
}
