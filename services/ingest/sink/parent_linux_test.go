package sink

import "syscall"

// withParent ends a child with the test that started it: one that stands still would stand there for ever.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
