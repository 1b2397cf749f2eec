package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
)

const (
	triesLimit    = 2 // for the lease, of a region in the time of one creation
	triesFresh    = time.Second
	triesCreate   = 500 * time.Millisecond
	triesInterval = 10 * time.Millisecond // between two reads of a region
)

// tryCounter counts what a region tries for leases.
type tryCounter struct {
	driver.Proxy
	tries *atomic.Int64
}

// TryLock implements driver.Locker, and counts.
func (t *tryCounter) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	t.tries.Add(1)
	return t.Proxy.TryLock(ctx, key, ttl)
}

// origin is where the one value comes from. It knows when that is due.
type origin struct {
	mu        sync.Mutex
	ended     time.Time // the last creation
	running   int
	expiries  int // for which something was created
	creations int
	over      chan struct{} // closed when there were as many expiries as wanted
	wanted    int
	tries     func() int64 // of all regions, until now
	before    []int64      // tries when each expiry's creation began
}

// create counts as another creation for the same expiry when one is running, or
// has ended so recently that its value is still fresh.
func (o *origin) create(context.Context) (string, error) {
	o.mu.Lock()
	if o.running == 0 && time.Since(o.ended) >= triesFresh {
		o.expiries++
		o.before = append(o.before, o.tries())
	}
	o.creations++
	o.running++
	o.mu.Unlock()
	time.Sleep(triesCreate)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.running--
	o.ended = time.Now()
	if o.running == 0 && o.expiries == o.wanted {
		o.wanted = 0 // one creation more must not close it again
		close(o.over)
	}
	return someone.Name, nil
}

// leaseTries is what regions did over some expiries.
type leaseTries struct {
	tries, first, most  int64 // of all regions; in the first expiry; of the region that tried most
	creations, expiries int
}

// printLeaseTries shows how often regions, each of which stands for a process,
// ask for a lease that another one holds: they serve the stale value meanwhile.
func printLeaseTries(o *options) error {
	if !o.filter.MatchString(nameDogpile) {
		return nil
	}
	s, err := startRedis()
	if err != nil {
		return err
	}
	defer s.Close()
	o.progress(fmt.Sprintf("Tries for the lease: %d regions, expiries: %d", o.regions, o.expiries))
	seen, err := tryLeases(s.addr, o.regions, o.expiries)
	if err != nil {
		return err
	}
	perRegion := func(tries int64, creations int) float64 {
		return float64(tries) / float64(o.regions) / float64(creations)
	}
	each, later := perRegion(seen.tries, seen.creations), ""
	if seen.creations > 1 {
		later = fmt.Sprintf("%.2f", perRegion(seen.tries-seen.first, seen.creations-1))
	}
	rows := [][]string{
		{"one stale key", "creations per expiry", "tries per region and creation", "in the first", "in later ones",
			"of the region that tried most", fmt.Sprintf("tries ≤ %d, creations = 1", triesLimit)},
		{nameDogpile, fmt.Sprintf("%.2f", float64(seen.creations)/float64(seen.expiries)), fmt.Sprintf("%.2f", each),
			fmt.Sprintf("%.2f", perRegion(seen.first, 1)), later, fmt.Sprintf("%.2f", float64(seen.most)/float64(seen.creations)),
			verdict(each <= triesLimit && seen.creations == seen.expiries)},
	}
	printTable(o.out, fmt.Sprintf("Tries for the lease on Redis: %d regions read every %v, creator of %v, expiries: %d",
		o.regions, triesInterval, triesCreate, o.expiries), rows)
	return nil
}

// tryLeases has regions read one key until it has expired that often.
func tryLeases(addr string, regions, expiries int) (leaseTries, error) {
	b, err := redis.Open(context.Background(), "redis://"+addr, nil)
	if err != nil {
		return leaseTries{}, err
	}
	defer driver.Close(b)
	tries, caches := make([]atomic.Int64, regions), make([]*dogpile.Cache[string], regions)
	for i := range caches {
		counting := func(b driver.Backend) driver.Backend { return &tryCounter{driver.Proxy{Backend: b}, &tries[i]} }
		r := dogpile.NewRegion("bench")
		if err := r.Configure(b, &dogpile.Options{
			Expiration: triesFresh,
			StaleFor:   ttl,
			LockTTL:    lease,
			Proxies:    []func(driver.Backend) driver.Backend{counting},
		}); err != nil {
			return leaseTries{}, err
		}
		defer r.Close(context.Background())
		caches[i] = dogpile.NewCache[string](r, nil)
	}
	stored := time.Now()
	// Set writes the region's token as well, and takes a lease for that.
	if err := caches[0].Set(context.Background(), "k", someone.Name); err != nil {
		return leaseTries{}, err
	}
	tries[0].Store(0)
	sum := func() (n int64) {
		for i := range tries {
			n += tries[i].Load()
		}
		return n
	}
	from := &origin{ended: stored, over: make(chan struct{}), wanted: expiries, tries: sum}
	if err := readOn(caches, from); err != nil {
		return leaseTries{}, err
	}
	seen := leaseTries{tries: sum(), creations: from.creations, expiries: expiries}
	seen.first = seen.tries
	if len(from.before) > 1 {
		seen.first = from.before[1] - 1 // it has tried whose creation is the second
	}
	for i := range tries {
		seen.most = max(seen.most, tries[i].Load())
	}
	return seen, nil
}

// readOn has each of caches read the key every triesInterval, each at another
// moment of it, until from is over and a moment longer: a region that read the
// stale value just before may try for the lease just after.
func readOn(caches []*dogpile.Cache[string], from *origin) error {
	var wg sync.WaitGroup
	stop, errs := make(chan struct{}), make([]error, len(caches))
	limit := patience + 2*time.Duration(from.wanted)*(triesFresh+triesCreate)
	for i, c := range caches {
		wg.Go(func() {
			time.Sleep(triesInterval * time.Duration(i) / time.Duration(len(caches)))
			tick := time.NewTicker(triesInterval)
			defer tick.Stop()
			for errs[i] == nil {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				v, err := c.GetOrCreate(context.Background(), "k", from.create)
				if err == nil && v != someone.Name {
					err = fmt.Errorf("got %q", v)
				}
				errs[i] = err
			}
		})
	}
	var late error
	select {
	case <-from.over:
		time.Sleep(10 * triesInterval)
	case <-time.After(limit):
		late = fmt.Errorf("after %v the key had not expired as often as wanted", limit)
	}
	close(stop)
	wg.Wait()
	return errors.Join(append(errs, late)...)
}
