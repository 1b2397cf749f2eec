// Package load makes the arrivals of a run: what is asked for, and when. They
// are fixed before the run begins, so that each mode gets the same ones and a
// slow answer does not hold back the requests behind it.
package load

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/accesslog"
)

// Request is one arrival.
type Request struct {
	At  time.Duration // since the beginning of the run
	Key string
}

// Zipf returns n requests that arrive at random within d, in the order of
// arrival. Their mean rate grows from 0 during the first fifth of d, as that of
// a server that has just been put into service, and is the same from then on.
// The key of rank r, counted from 1, is asked for in proportion to 1/r^skew; with
// a skew of 0 all keys are alike. The same arguments give the same requests. n
// and keys are at least 1.
func Zipf(n, keys int, skew float64, d time.Duration, seed uint64) []Request {
	names := make([]string, keys)
	upTo := make([]float64, keys) // weights of this rank and those before it
	sum := 0.0
	for i := range keys {
		names[i] = fmt.Sprintf("/tile/%d", i+1)
		sum += math.Pow(float64(i+1), -skew)
		upTo[i] = sum
	}
	random := rand.New(rand.NewPCG(seed, 0))
	requests := make([]Request, n)
	for i := range requests {
		rank := sort.SearchFloat64s(upTo, random.Float64()*sum)
		at := time.Duration(arrival(random.Float64()) * float64(d))
		// A number that was rounded up may be one past the last.
		requests[i] = Request{min(at, d-1), names[min(rank, keys-1)]}
	}
	slices.SortStableFunc(requests, func(a, b Request) int { return cmp.Compare(a.At, b.At) })
	return requests
}

// arrival returns the part of the time by which the fraction u of all requests
// has arrived.
func arrival(u float64) float64 {
	// The rate grows to 1 during ramp. By the time x the area below it is x²/(2·ramp),
	// and after the ramp x - ramp/2.
	const ramp = 0.2
	area := u * (1 - ramp/2)
	if area < ramp/2 {
		return math.Sqrt(2 * ramp * area)
	}
	return area + ramp/2
}

// Replay returns the requests of a log at speed times its pace, in the order of
// their times, whatever the order of entries. Logs count whole seconds: the requests
// of one second are spread evenly over it. An At that a Duration cannot hold is
// math.MaxInt64. Speed is greater than 0; entries is not changed.
func Replay(entries []accesslog.Entry, speed float64) []Request {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b accesslog.Entry) int { return a.Time.Compare(b.Time) })
	requests := make([]Request, len(entries))
	for first := 0; first < len(entries); {
		next := first
		for next < len(entries) && entries[next].Time.Equal(entries[first].Time) {
			next++
		}
		second := float64(entries[first].Time.Unix() - entries[0].Time.Unix())
		for i := first; i < next; i++ {
			at := (second + float64(i-first)/float64(next-first)) / speed * float64(time.Second)
			requests[i] = Request{math.MaxInt64, entries[i].Path}
			if at < math.MaxInt64 {
				requests[i].At = time.Duration(at)
			}
		}
		first = next
	}
	return requests
}

// Until returns the requests that arrive before d. It shares memory with
// requests, which are in the order of arrival.
func Until(requests []Request, d time.Duration) []Request {
	return requests[:sort.Search(len(requests), func(i int) bool { return requests[i].At >= d })]
}

// Keys returns the keys of requests, each once, in the order in which they are
// first asked for.
func Keys(requests []Request) []string {
	var keys []string
	seen := make(map[string]bool)
	for _, r := range requests {
		if !seen[r.Key] {
			seen[r.Key] = true
			keys = append(keys, r.Key)
		}
	}
	return keys
}
