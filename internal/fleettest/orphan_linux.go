package fleettest

import "syscall"

// dieWithParent keeps a process, even a stopped one, from outliving a test
// binary that is killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
