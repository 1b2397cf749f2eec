//go:build !linux

package fleet

import "syscall"

// attributes are none here: a process ends because its standard input does.
func attributes() *syscall.SysProcAttr { return nil }
