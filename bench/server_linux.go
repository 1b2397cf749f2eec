package main

import "syscall"

// dieWithParent keeps what the bench starts from outliving it.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
