package memcached_test

import "syscall"

// dieWithParent keeps servers from outliving a test binary that is killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
