package dogpile

import (
	"context"
	"sync"

	"github.com/dogpile-go/dogpile/driver"
)

// readings is the keys that are being read. When an entry changes that many goroutines ask
// for, one of them reads it anew, and the others get what that one is given.
//
// To be given what another caller has asked for is to be given a copy of that age, so the
// same rules hold:
//
//  1. A asks for the entry.  2. It is deleted, by another process say.
//  3. B calls, and finds that A is reading. What A gets was right when A asked, and that
//     must not be longer ago than Lag.
//  4. If it was deleted by this process, the mark that A gets has changed: B asks too.
type readings struct {
	mu  sync.Mutex
	now map[string]*reading
}

// reading is one key that is being read.
type reading struct {
	asked int64         // when, on the clock of now
	done  chan struct{} // closed once the others are set
	item  driver.Item   // what was read; without a mark nobody else may use it
	err   error         // why there is nothing, unless the context of its caller has ended
}

// over reports whether a caller that comes now cannot be given what was read: it has changed, or
// there is nothing.
func (r *reading) over() bool {
	select {
	case <-r.done:
		_, right := r.item.Mark.Right(0)
		return r.err != nil || !right
	default:
		return false
	}
}

// rejoins is how often a caller waits for another's reading that turns out to be from before
// a change.
const rejoins = 3

// read is get for items of which copies are kept. asked is when the first of them was asked
// for. Others are given what was read until the caller calls release, which it does when it
// has kept the copies: so nobody reads in between. After a panic of a proxy they are not.
func (s *state) read(ctx context.Context, items []driver.Item) (asked int64, release func(), err error) {
	asked = now()
	if s.near == nil {
		return asked, nothing, s.get(ctx, items)
	}
	var all []map[string]*reading
	release = func() {
		for _, own := range all {
			s.near.readings.release(own)
		}
	}
	// What a creator reads must not be as old as what another caller has asked for may be.
	joins := !s.near.tooOld(ctx)
	returned := false
	defer func() {
		if !returned { // a proxy has panicked
			release()
		}
	}()
	left := make([]int, len(items)) // positions of what is not read yet
	for i := range left {
		left[i] = i
	}
	for try := 0; len(left) > 0; try++ {
		own, others := s.near.begin(items, left, now(), joins && try < rejoins)
		all = append(all, own)
		if err = s.readOwn(ctx, items, left, own, others); err != nil {
			break
		}
		if left, err = s.near.await(ctx, items, left, others, &asked); err != nil {
			break
		}
	}
	returned = true
	return asked, release, err
}

func nothing() {}

// begin notes that the items at some positions are being read, and returns what it has noted,
// by key, and those that others are reading already, by their positions.
func (n *near) begin(items []driver.Item, at []int, asked int64, join bool) (own map[string]*reading, others map[int]*reading) {
	own, others = make(map[string]*reading), make(map[int]*reading)
	n.readings.mu.Lock()
	defer n.readings.mu.Unlock()
	if n.readings.now == nil {
		n.readings.now = make(map[string]*reading)
	}
	for _, i := range at {
		it := &items[i]
		if !it.Keep {
			continue
		}
		if r := n.readings.now[it.Key]; join && r != nil && asked-r.asked <= int64(n.lag) && !r.over() {
			others[i] = r
			continue
		}
		r := &reading{asked: asked, done: make(chan struct{})}
		own[it.Key], n.readings.now[it.Key] = r, r
	}
	return own, others
}

// release ends what begin began.
func (rs *readings) release(own map[string]*reading) {
	if len(own) == 0 {
		return
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for key, r := range own {
		if rs.now[key] == r {
			delete(rs.now, key)
		}
	}
}

// readOwn reads the items at some positions that nobody else reads, and gives what comes of
// them to those who wait.
func (s *state) readOwn(ctx context.Context, items []driver.Item, at []int, own map[string]*reading, others map[int]*reading) (err error) {
	mine := items
	if len(at) < len(items) || len(others) > 0 {
		mine = make([]driver.Item, 0, len(at))
		for _, i := range at {
			if others[i] == nil {
				mine = append(mine, items[i])
			}
		}
	}
	if len(mine) == 0 {
		return nil
	}
	returned := false
	defer func() {
		for i := range mine {
			r := own[mine[i].Key]
			if r == nil || r.err != nil || r.item.Key != "" {
				continue // a key may be there twice
			}
			switch {
			case !returned: // a proxy has panicked
			case err == nil && mine[i].Err == nil:
				r.item = mine[i]
			case err != nil && !gaveUp(ctx, err):
				r.err = err
			case mine[i].Err != nil && !gaveUp(ctx, mine[i].Err):
				r.err = mine[i].Err
			}
		}
		for _, r := range own {
			close(r.done)
		}
	}()
	err = s.get(ctx, mine)
	returned = true
	if len(mine) < len(items) {
		n := 0
		for _, i := range at {
			if others[i] == nil {
				items[i] = mine[n]
				n++
			}
		}
	}
	return err
}

// await fills in what others have read, and returns the positions of what they have read in
// vain. asked becomes when the first of them has asked.
func (n *near) await(ctx context.Context, items []driver.Item, at []int, others map[int]*reading, asked *int64) (left []int, err error) {
	for _, i := range at {
		r := others[i]
		if r == nil {
			continue
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if r.err != nil {
			items[i].Err = r.err
		} else if _, right := r.item.Mark.Right(0); right {
			items[i] = r.item
			*asked = min(*asked, r.asked)
		} else {
			left = append(left, i)
		}
	}
	return left, nil
}
