package origin

import (
	"runtime"
	"syscall"
	"time"
)

// measure runs f and returns the CPU time that it took.
func measure(f func()) time.Duration {
	// The kernel counts by threads, and a goroutine may move to another one.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadCPU()
	f()
	return threadCPU() - before
}

func threadCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		panic(err) // both arguments are valid
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
