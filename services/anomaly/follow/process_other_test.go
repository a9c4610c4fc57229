//go:build !linux

package follow

import "syscall"

func withParent() *syscall.SysProcAttr { return nil }
