//go:build !linux

package memcached_test

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
