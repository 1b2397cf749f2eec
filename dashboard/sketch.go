package dashboard

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	counted  = 128              // keys that a sketch keeps
	halfLife = time.Minute      // after which what was counted counts for half
	tick     = time.Second      // between two times that a sketch ages
	perTick  = 1024             // keys that are looked at in a tick, about
	maxKey   = 16 << 10         // bytes; longer keys are not kept
	lately   = 10 * time.Minute // for so long a slow creation, or an error, is shown
)

// sketch finds the keys that are asked for most, by the Space-Saving algorithm (Metwally et
// al., 2005): unlike count-min it keeps the keys, needs no heap, and knows how far each count
// may be off. Counts fade away with halfLife.
//
// It costs a hit a load and a random number: under load only one in many is looked at, and
// that one gives way if another has the lock.
type sketch struct {
	mask atomic.Uint32 // one in mask+1 is looked at

	mu     sync.Mutex
	looked int // in this tick
	began  time.Time
	aged   time.Time
	counts map[string]*count // changed in place: to store a key that is there would keep the caller's
}

// count is how often a key was asked for: at most all, and at least all less what others have
// left to it, whose place it took.
type count struct{ all, left float64 }

// add counts a key that was asked for.
func (s *sketch) add(key string) {
	mask := s.mask.Load()
	if mask != 0 && rand.Uint32()&mask != 0 || len(key) > maxKey || !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	s.age(time.Now())
	if s.looked++; s.looked == 2*perTick {
		s.looked = perTick // as if it had been so many from the beginning
		s.mask.Store(mask<<1 | 1)
	}
	if s.counts == nil {
		s.counts = make(map[string]*count, counted)
	}
	c := s.counts[key]
	if c == nil {
		c = new(count)
		if len(s.counts) == counted {
			c.left = s.makeRoom()
			c.all = c.left
		}
		s.counts[strings.Clone(key)] = c // it may be part of something large
	}
	c.all += float64(mask) + 1
}

// makeRoom forgets the key that was asked for least, and returns its count. s.mu is held.
func (s *sketch) makeRoom() float64 {
	least, n := "", math.Inf(1)
	for k, c := range s.counts {
		if c.all < n {
			least, n = k, c.all
		}
	}
	delete(s.counts, least)
	return n
}

// age lets what was counted fade, once in a tick. s.mu is held.
func (s *sketch) age(now time.Time) {
	past := now.Sub(s.aged)
	if past < tick {
		return
	}
	if s.aged.IsZero() {
		s.began, past = now, 0
	}
	fades := math.Exp2(-float64(past) / float64(halfLife))
	for _, c := range s.counts {
		c.all *= fades
		c.left *= fades
	}
	if mask := s.mask.Load(); s.looked < perTick/2 || past > 2*tick {
		s.mask.Store(mask >> 1)
	}
	s.aged, s.looked = now, 0
}

// hot is a key that is asked for often.
type hot struct {
	Key   string
	Rate  float64 // per second, about
	times float64
}

// top returns up to n keys, the one first that is asked for most.
func (s *sketch) top(n int, now time.Time) []hot {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age(now)
	// What one request in a second adds up to, since the sketch began.
	one := halfLife.Seconds() / math.Ln2 * (1 - math.Exp2(-float64(now.Sub(s.began))/float64(halfLife)))
	var all []hot
	for k, c := range s.counts {
		if times := c.all - c.left; times >= 0.5 { // others have faded away
			all = append(all, hot{k, times / max(one, 1), times})
		}
	}
	slices.SortFunc(all, func(a, b hot) int {
		return cmp.Or(cmp.Compare(b.times, a.times), cmp.Compare(a.Key, b.Key))
	})
	return all[:min(n, len(all))]
}

// slow is a creation that took long.
type slow struct {
	Key  string
	Took time.Duration
	At   time.Time
}

// slowest is the keys whose creations took longest lately, one creation of each.
type slowest struct {
	mu   sync.Mutex
	keys map[string]slow
}

// add notes a creation.
func (s *slowest) add(key string, took time.Duration, now time.Time) {
	if len(key) > maxKey {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = make(map[string]slow)
	}
	known, is := s.keys[key]
	if is && known.Took > took && now.Sub(known.At) < lately {
		return
	}
	if !is && len(s.keys) >= counted {
		var least *slow
		for _, k := range s.keys {
			if least == nil || k.before(*least, now) > 0 {
				least = &k
			}
		}
		if least.before(slow{key, took, now}, now) < 0 {
			return
		}
		delete(s.keys, least.Key)
	}
	key = strings.Clone(key) // it may be part of something large
	s.keys[key] = slow{key, took, now}
}

// before compares for an order in which the slowest come first, and after them all that are
// of no interest any more.
func (k slow) before(other slow, now time.Time) int {
	switch past, otherPast := now.Sub(k.At) >= lately, now.Sub(other.At) >= lately; {
	case past && !otherPast:
		return 1
	case otherPast && !past:
		return -1
	}
	return cmp.Or(cmp.Compare(other.Took, k.Took), cmp.Compare(k.Key, other.Key))
}

// top returns up to n of them, the slowest first.
func (s *slowest) top(n int, now time.Time) []slow {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []slow
	for _, k := range s.keys {
		if now.Sub(k.At) < lately {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b slow) int { return a.before(b, now) })
	return all[:min(n, len(all))]
}
