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

// cpuTime returns for how long the threads of a process, which is a name in
// /proc, have had a CPU, and for how long they have been ready to run while
// something else had it. Both are 0 where the system does not tell.
func cpuTime(process string) (had, awaited time.Duration) {
	files, _ := filepath.Glob("/proc/" + process + "/task/*/schedstat")
	for _, name := range files {
		var ran, waited time.Duration
		if data, err := os.ReadFile(name); err == nil {
			fmt.Sscan(string(data), &ran, &waited)
			had, awaited = had+ran, awaited+waited
		}
	}
	return had, awaited
}

// quietest calls measure until one of its samples was hardly disturbed by
// other processes, at most tries times, and returns the least disturbed one.
func quietest(tries int, measure func() (sample, error)) (sample, error) {
	var best sample
	for try := range tries {
		begin := time.Now()
		_, before := cpuTime("self")
		s, err := measure()
		if err != nil {
			return s, err
		}
		_, after := cpuTime("self")
		s.disturbed = float64(after-before) / float64(time.Since(begin))
		if try == 0 || s.disturbed < best.disturbed {
			best = s
		}
		if best.disturbed <= quietEnough {
			break
		}
	}
	return best, nil
}
