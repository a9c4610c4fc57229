//go:build !linux

package sink

import "syscall"

func withParent() *syscall.SysProcAttr { return nil }
