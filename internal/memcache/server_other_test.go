//go:build !linux

package memcache_test

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
