//go:build !linux

package origin

import "time"

// measure runs f and returns the time that it took: there is no way here to learn
// the CPU time of one thread.
func measure(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}
