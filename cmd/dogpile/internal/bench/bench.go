// Package bench puts a load on a backend, through a region, and measures it.
package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// Load is what a run does.
type Load struct {
	Duration    time.Duration // how long, at most
	Requests    int           // how many calls, at most
	Concurrency int           // how many at once
	Keys        int
	Size        int     // of a value, in bytes
	Writes      float64 // which part of the calls write
}

const (
	// Prefix is what all keys of a run begin with.
	Prefix = "dogpile-bench:"
	// shortestLife is the least TTL of the entries of a run, which nobody removes if it is killed.
	shortestLife = 10 * time.Minute
	// tooMany failures in a row, of one goroutine, end the run: the backend is gone.
	tooMany = 20
	// batch is how many keys are written or removed in one call, and batchBytes about how many
	// bytes are written.
	batch      = 200
	batchBytes = 1 << 20
)

// ParseSize reads a number of bytes, such as "10KiB".
func ParseSize(text string) (int, bool) {
	for _, unit := range []struct {
		name  string
		shift int
	}{{"KiB", 10}, {"MiB", 20}, {"", 0}} {
		if number, is := strings.CutSuffix(text, unit.name); is {
			n, err := strconv.Atoi(number)
			if err != nil || n < 0 || n > 1<<30>>unit.shift {
				return 0, false
			}
			return n << unit.shift, true
		}
	}
	return 0, false
}

// run is a run.
type run struct {
	load   Load
	region *dogpile.Region
	cache  *dogpile.Cache[[]byte]
	value  []byte
	left   atomic.Int64 // calls that may still be made
	filled int          // so many keys may have been written
	stop   context.CancelFunc

	mu     sync.Mutex
	result Result
	err    error // the first
}

// Run puts the load on b, until ctx ends. Removing the keys may take as long as patience, also
// after that. The result is nil if nothing was measured. The error is ctx's if that has ended,
// and else tells of calls that have failed, or of keys that could not be removed.
func Run(ctx context.Context, b driver.Backend, load Load, patience time.Duration) (*Result, error) {
	r := &run{load: load, region: dogpile.NewRegion("bench"), value: make([]byte, load.Size)}
	rand.Read(r.value)
	life := max(shortestLife, load.Duration+patience) // all that is read is to be there until the end
	err := r.region.Configure(b, &dogpile.Options{
		Prefix: Prefix + rand.Text()[:10] + ":", Expiration: life, StaleFor: 1, // a nanosecond
		// It is nobody's to invalidate, and leaves no token behind.
		Invalidator: new(dogpile.LocalInvalidator),
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	r.cache = dogpile.NewCache(r.region, &dogpile.CacheOptions[[]byte]{Codec: dogpile.Bytes})
	r.left.Store(int64(load.Requests))
	filled := r.fill(ctx)
	if filled == nil {
		r.measure(ctx)
	}
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	removed := r.remove(cleaning)
	closed := r.region.Close(cleaning)
	r.result.Interrupted, r.result.Err = ctx.Err() != nil, r.err
	result := &r.result
	if filled != nil {
		result = nil
	}
	switch {
	case removed != nil:
		return result, fmt.Errorf("keys that begin with %s may be left for up to %v: %w", Prefix, life, removed)
	case ctx.Err() != nil:
		return result, ctx.Err()
	case filled != nil:
		return result, filled
	case r.err != nil:
		return result, fmt.Errorf("%d of %d calls have failed, the first with: %w", r.result.Errors, r.result.Errors+r.result.Requests, r.err)
	}
	return result, closed
}

func (r *run) key(i int) string { return strconv.Itoa(i) }

// fill writes all keys, so that what is read is there.
func (r *run) fill(ctx context.Context) error {
	for r.filled < r.load.Keys {
		entries := make(map[string][]byte)
		for range min(batch, r.load.Keys-r.filled, 1+batchBytes/(r.load.Size+1)) {
			entries[r.key(r.filled)] = r.value
			r.filled++
		}
		if err := r.cache.SetMulti(ctx, entries); err != nil {
			return err
		}
	}
	return nil
}

// measure has the calls made.
func (r *run) measure(ctx context.Context) {
	ctx, r.stop = context.WithTimeout(ctx, r.load.Duration)
	defer r.stop()
	began := time.Now()
	var workers sync.WaitGroup
	for range r.load.Concurrency {
		workers.Go(func() { r.work(ctx) })
	}
	workers.Wait()
	r.result.Took = time.Since(began)
}

// work makes calls, one after the other.
func (r *run) work(ctx context.Context) {
	var own Result
	var first error
	failures := 0
	for ctx.Err() == nil && r.left.Add(-1) >= 0 {
		key, writes := r.key(mrand.IntN(r.load.Keys)), mrand.Float64() < r.load.Writes
		h := &own.get
		if writes {
			h = &own.set
		}
		began := time.Now()
		err := r.call(ctx, key, writes)
		took := time.Since(began)
		switch {
		case err == nil:
			failures = 0
			own.Requests++
			h.Add(took)
			continue
		case ctx.Err() != nil:
			continue // it was not the backend that has ended the call
		}
		own.Errors++
		if first == nil {
			first = err
		}
		if failures++; failures == tooMany {
			r.stop()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.merge(&own)
	if r.err == nil {
		r.err = first
	}
}

var errMissing = errors.New("an entry that was written is not there: it was evicted, or another program has removed it")

func (r *run) call(ctx context.Context, key string, writes bool) error {
	if writes {
		return r.cache.Set(ctx, key, r.value)
	}
	v, ok, err := r.cache.Get(ctx, key)
	switch {
	case err != nil:
		return err
	case !ok:
		return errMissing
	case len(v) != len(r.value):
		return fmt.Errorf("an entry of %d bytes was read, and %d were written", len(v), len(r.value))
	}
	return nil
}

// remove removes all keys that may have been written.
func (r *run) remove(ctx context.Context) error {
	for from := 0; from < r.filled; from += batch {
		var keys []string
		for i := from; i < min(from+batch, r.filled); i++ {
			keys = append(keys, r.key(i))
		}
		if err := r.region.Delete(ctx, keys...); err != nil {
			return err
		}
	}
	return nil
}
