//go:build !linux

package binary_test

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
