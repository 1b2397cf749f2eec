package bench

import (
	"math"
	"math/bits"
	"time"
)

const (
	// subBits is how finely a power of two is divided: into 32 parts, so that what is read from
	// a Histogram is at most 3 % too high.
	subBits = 5
	subs    = 1 << subBits
)

// Histogram counts durations. The zero value is ready to use. It is for one goroutine; merge adds
// those of several together.
type Histogram struct {
	counts   [(64 - subBits + 1) * subs]uint64
	count    uint64
	min, max time.Duration
}

// slot returns where a duration is counted: exactly if it is below 32 ns, else with its first
// six bits.
func slot(d time.Duration) int {
	n := uint64(max(d, 0))
	if n < subs {
		return int(n)
	}
	shift := bits.Len64(n) - subBits - 1
	return (shift+1)*subs + int(n>>shift) - subs
}

// upTo returns the longest duration that is counted in a slot.
func upTo(slot int) time.Duration {
	if slot < subs {
		return time.Duration(slot)
	}
	shift := slot/subs - 1
	return time.Duration((uint64(slot%subs)+subs+1)<<shift - 1)
}

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) {
	if h.count == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.counts[slot(d)]++
	h.count++
}

func (h *Histogram) merge(other *Histogram) {
	if other.count == 0 {
		return
	}
	if h.count == 0 || other.min < h.min {
		h.min = other.min
	}
	h.max = max(h.max, other.max)
	h.count += other.count
	for i, n := range other.counts {
		h.counts[i] += n
	}
}

// Count returns how many durations were counted.
func (h *Histogram) Count() uint64 { return h.count }

// Quantile returns the least duration that a part q of all, from 0 to 1, does not exceed; it may be
// up to 3 % more than that, and is exact for 0 and 1. Without any it is 0.
func (h *Histogram) Quantile(q float64) time.Duration {
	switch {
	case h.count == 0:
		return 0
	case q <= 0:
		return h.min
	}
	rank := min(uint64(math.Ceil(q*float64(h.count))), h.count)
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += n; seen >= rank && n > 0 {
			return min(upTo(i), h.max)
		}
	}
	return h.max
}

// Bar is the durations between the UpTo of the bar before and its own.
type Bar struct {
	UpTo  time.Duration
	Count uint64
}

// Bars returns the durations by powers of two of a microsecond, from the first to the last that
// has any. The caller owns the slice.
func (h *Histogram) Bars() (bars []Bar) {
	limit := time.Microsecond
	bar := Bar{UpTo: limit}
	for i, n := range h.counts {
		if n == 0 {
			continue
		}
		for upTo(i) > bar.UpTo {
			if bar.Count > 0 || len(bars) > 0 {
				bars = append(bars, bar)
			}
			limit *= 2
			bar = Bar{UpTo: limit}
		}
		bar.Count += n
	}
	if bar.Count > 0 {
		bars = append(bars, bar)
	}
	return bars
}
