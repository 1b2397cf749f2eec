package fleet

import "syscall"

// attributes make a process die with this one, and keep the interrupts of a
// terminal from it: they are for this process, which stops the others.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
