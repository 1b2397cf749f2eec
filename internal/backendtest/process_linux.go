package backendtest

import "syscall"

// dieWithParent keeps processes from outliving a test binary that is killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
