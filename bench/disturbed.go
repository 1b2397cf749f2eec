package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	quietEnough = 0.02 // share of a measurement that its threads may wait for a CPU
	tries       = 5    // to get a measurement that is quiet enough
)

// waitedForCPU returns for how long the threads of this process have been
// ready to run while something else had the CPU. It is 0 where the system does
// not tell.
func waitedForCPU() time.Duration {
	var total time.Duration
	files, _ := filepath.Glob("/proc/self/task/*/schedstat")
	for _, name := range files {
		var ran, waited time.Duration
		if data, err := os.ReadFile(name); err == nil {
			fmt.Sscan(string(data), &ran, &waited)
			total += waited
		}
	}
	return total
}

// quietest calls measure until one of its samples was hardly disturbed by
// other processes, at most tries times, and returns the least disturbed one.
func quietest(tries int, measure func() (sample, error)) (sample, error) {
	var best sample
	for try := range tries {
		begin, waited := time.Now(), waitedForCPU()
		s, err := measure()
		if err != nil {
			return s, err
		}
		s.disturbed = float64(waitedForCPU()-waited) / float64(time.Since(begin))
		if try == 0 || s.disturbed < best.disturbed {
			best = s
		}
		if best.disturbed <= quietEnough {
			break
		}
	}
	return best, nil
}
