//go:build unix && !linux

package backendtest

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
