//go:build unix && !linux

package fleettest

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
