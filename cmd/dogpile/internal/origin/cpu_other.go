//go:build !linux

package origin

import "time"

// measure runs f and returns the time that it took, since the CPU time of one
// thread is not to be had here.
func measure(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}
