package memory

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// lru is the bounded map.
type lru struct {
	cache     *otter.Cache[string, record]
	evictions atomic.Int64

	mu      sync.Mutex // guards stopped, and work.Add against work.Wait
	stopped bool
	work    sync.WaitGroup
}

// entryOverhead is what an entry takes besides key and value, as
// BenchmarkEntrySize measures it.
const entryOverhead = 128

// newLRU leaves expiry to the deadline in each record. The calculator of otter
// would read a clock in every Get and keep a goroutine for ever.
func newLRU(o *Options) *lru {
	l := &lru{}
	l.cache = otter.Must(&otter.Options[string, record]{
		MaximumSize:   o.MaxEntries,
		MaximumWeight: uint64(o.MaxBytes),
		Weigher:       weigher(o),
		Executor:      l.run,
		OnAtomicDeletion: func(e otter.DeletionEvent[string, record]) {
			if e.WasEvicted() {
				l.evictions.Add(1)
			}
		},
	})
	return l
}

func weigher(o *Options) func(string, record) uint32 {
	if o.MaxBytes == 0 {
		return nil
	}
	return func(key string, rec record) uint32 {
		data, _ := rec.obj.(encoded)
		return uint32(min(uint64(len(key))+uint64(len(data))+entryOverhead, math.MaxUint32))
	}
}

// run does otter's housekeeping in a goroutine of its own. It makes way for hits, which
// would take twice as long if they did it themselves.
func (l *lru) run(task func()) {
	l.mu.Lock()
	if l.stopped {
		// What comes after close, InvalidateAll among it, must leave no goroutine behind.
		l.mu.Unlock()
		task()
		return
	}
	l.work.Add(1)
	l.mu.Unlock()
	go func() {
		defer l.work.Done()
		task()
	}()
}

// expire removes the record under key if it is past its deadline: by now
// another may have taken its place.
func (l *lru) expire(key string) {
	l.cache.ComputeIfPresent(key, func(rec record) (record, otter.ComputeOp) {
		if rec.deadline != 0 && time.Since(base) >= rec.deadline {
			return rec, otter.InvalidateOp
		}
		return rec, otter.CancelOp
	})
}

// drop removes the records that match. By the time one is removed another may have
// taken its place, so that is looked at again.
func (l *lru) drop(match func(key string, rec record) bool) {
	for key, rec := range l.cache.All() {
		if match(key, rec) {
			l.cache.ComputeIfPresent(key, func(rec record) (record, otter.ComputeOp) {
				if match(key, rec) {
					return rec, otter.InvalidateOp
				}
				return rec, otter.CancelOp
			})
		}
	}
}

func (l *lru) len() int {
	l.cache.CleanUp() // or entries that have to make room yet would count
	return l.cache.EstimatedSize()
}

func (l *lru) close() {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.work.Wait()
	l.cache.InvalidateAll()
}
