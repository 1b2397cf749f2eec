package dogpile

import (
	"context"
	"sync"

	"github.com/dogpile-go/dogpile/driver"
)

// readings is the keys that are being read. When an entry changes that many goroutines ask
// for, one of them reads it anew, and the others get what that one is given.
type readings struct {
	mu  sync.Mutex
	now map[string]*reading
}

// reading is one key that is being read.
type reading struct {
	asked int64         // when, on the clock of now
	done  chan struct{} // closed once the others are set
	item  driver.Item   // what was read; without a mark nobody else may use it
	err   error         // why there is nothing, unless it was the caller's haste
}

// read is get for items of which copies are kept. asked is when the first of them was asked
// for.
//
// To be given what another caller has asked for is to be given a copy of that age, so the
// same rules hold:
//
//  1. A asks for the entry.  2. It is deleted, by another process say.
//  3. B calls, and finds that A is reading. What A gets was right when A asked, and that
//     must not be longer ago than Lag.
//  4. If it was deleted by this process, the mark that A gets has changed: B reads.
func (s *state) read(ctx context.Context, items []driver.Item) (asked int64, err error) {
	asked = now()
	if s.near == nil {
		return asked, s.get(ctx, items)
	}
	own, others := s.near.begin(items, asked)
	mine := items
	if len(others) > 0 {
		mine = make([]driver.Item, 0, len(items))
		for i := range items {
			if others[i] == nil {
				mine = append(mine, items[i])
			}
		}
	}
	err = s.readOwn(ctx, mine, own)
	if err != nil || len(others) == 0 {
		return asked, err
	}
	var again []driver.Item
	for i, n := 0, 0; i < len(items); i++ {
		r := others[i]
		if r == nil {
			items[i] = mine[n]
			n++
			continue
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return asked, ctx.Err()
		}
		if r.err != nil {
			items[i].Err = r.err
			delete(others, i)
		} else if _, right := r.item.Mark.Right(0); right {
			items[i] = r.item
			asked = min(asked, r.asked)
			delete(others, i)
		} else {
			again = append(again, items[i])
		}
	}
	if len(again) == 0 {
		return asked, nil
	}
	err = s.get(ctx, again)
	for i, n := 0, 0; i < len(items); i++ {
		if others[i] != nil {
			items[i] = again[n]
			n++
		}
	}
	return asked, err
}

// begin notes that items are being read, and returns what it has noted, by key, and those
// that others are reading already, by their positions.
func (n *near) begin(items []driver.Item, asked int64) (own map[string]*reading, others map[int]*reading) {
	n.readings.mu.Lock()
	defer n.readings.mu.Unlock()
	for i := range items {
		it := &items[i]
		if !it.Keep {
			continue
		}
		if r := n.readings.now[it.Key]; r != nil && asked-r.asked <= int64(n.lag) {
			if others == nil {
				others = make(map[int]*reading)
			}
			others[i] = r
			continue
		}
		r := &reading{asked: asked, done: make(chan struct{})}
		if own == nil {
			own = make(map[string]*reading)
		}
		if n.readings.now == nil {
			n.readings.now = make(map[string]*reading)
		}
		own[it.Key], n.readings.now[it.Key] = r, r
	}
	return own, others
}

// readOwn reads items, and gives what comes of them to those who wait.
func (s *state) readOwn(ctx context.Context, items []driver.Item, own map[string]*reading) (err error) {
	if len(items) == 0 {
		return nil
	}
	returned := false
	defer func() {
		rs := &s.near.readings
		rs.mu.Lock()
		defer rs.mu.Unlock()
		for i := range items {
			r := own[items[i].Key]
			if r == nil {
				continue
			}
			switch {
			case returned && err == nil && items[i].Err == nil:
				r.item = items[i]
			case returned && err != nil && !gaveUp(ctx, err):
				r.err = err
			case returned && items[i].Err != nil && !gaveUp(ctx, items[i].Err):
				r.err = items[i].Err
			}
			if rs.now[items[i].Key] == r {
				delete(rs.now, items[i].Key)
			}
			delete(own, items[i].Key) // a key may be there twice
			close(r.done)
		}
	}()
	err = s.get(ctx, items)
	returned = true
	return err
}
