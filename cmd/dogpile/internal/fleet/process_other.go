//go:build !linux

package fleet

import "syscall"

// attributes are none: a process notices that its standard input ends.
func attributes() *syscall.SysProcAttr { return nil }
