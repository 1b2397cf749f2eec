package memcached

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/memcache"
)

// part is what one server, or one connection to a server, is sent.
type part struct {
	to  doer
	ops []memcache.Op
	at  []int // the index of the item or key that each op is of
	err error
}

// parts is a batch, split up by server. It is used again, which spares a hit the
// allocations.
type parts struct{ list []part }

func (c *core) newParts() *parts { return c.parts.Get().(*parts) }

// free lets p be used again.
func (c *core) free(p *parts) {
	for i := range p.list {
		q := &p.list[i]
		clear(q.ops)
		q.to, q.ops, q.at, q.err = nil, q.ops[:0], q.at[:0], nil
	}
	p.list = p.list[:0]
	c.parts.Put(p)
}

// add adds an op, of the item or key with the index at, to the part for to.
func (p *parts) add(to doer, at int, op memcache.Op) {
	for i := range p.list {
		if q := &p.list[i]; q.to == to {
			q.ops, q.at = append(q.ops, op), append(q.at, at)
			return
		}
	}
	n := len(p.list)
	if n < cap(p.list) {
		p.list = p.list[:n+1]
	} else {
		p.list = append(p.list, part{})
	}
	q := &p.list[n]
	q.to, q.ops, q.at = to, append(q.ops, op), append(q.at, at)
}

// do sends all parts at the same time, and returns when all are answered.
func (p *parts) do(ctx context.Context) {
	switch n := len(p.list); {
	case n == 1:
		// By far the most common: no goroutine.
		p.list[0].do(ctx)
	case n > 1:
		var wg sync.WaitGroup
		for i := range n - 1 {
			wg.Go(func() { p.list[i].do(ctx) })
		}
		p.list[n-1].do(ctx)
		wg.Wait()
	}
}

func (q *part) do(ctx context.Context) { q.err = q.to.Do(ctx, q.ops) }

// each calls f for every op with the index of its item or key, and with its
// error: what the server said of the op, or why there is no answer.
func (p *parts) each(f func(at int, op *memcache.Op, err error)) {
	for i := range p.list {
		q := &p.list[i]
		for j := range q.ops {
			op, err := &q.ops[j], q.ops[j].Err
			if err == nil && op.Status == memcache.Unanswered {
				err = q.err
			}
			f(q.at[j], op, err)
		}
	}
}

// faults are the items or keys for which nothing could be done.
type faults struct {
	items []driver.Item // whose Err is set; nil: they are keys
	bad   map[int]bool
	first error
}

// note notes what is wrong with the i-th item or key; nil: nothing.
func (f *faults) note(i int, err error) {
	if err == nil {
		return
	}
	err = failed(err)
	if f.bad == nil {
		f.first, f.bad = err, make(map[int]bool)
	}
	f.bad[i] = true
	if f.items != nil {
		f.items[i].Err = err
	}
}

// all returns the first error if all items that were asked for have one, for a
// call by which nothing could be done.
func (f *faults) all(asked int) error {
	if f.bad != nil && len(f.bad) == asked {
		return f.first
	}
	return nil
}

// get asks for what no lease has read already.
func (c *core) get(ctx context.Context, items []driver.Item) error {
	if len(items) == 0 {
		return nil
	}
	if err := c.begin(ctx); err != nil {
		return err
	}
	p := c.newParts()
	defer c.free(p)
	asked, bad := 0, faults{items: items}
	for i := range items {
		it := &items[i]
		if r, ok := it.Lease.(reader); ok && r.answer(it) {
			continue
		}
		asked++
		if err := c.check(it.Key); err != nil {
			bad.note(i, err)
			continue
		}
		p.add(c.at(it.Key), i, memcache.Op{Kind: memcache.Get, Key: it.Key})
	}
	p.do(ctx)
	p.each(func(i int, op *memcache.Op, err error) {
		if err == nil {
			fill(&items[i], op)
		}
		bad.note(i, err)
	})
	return bad.all(asked)
}

// fill puts what was found into it.
func fill(it *driver.Item, op *memcache.Op) {
	data, err := value(op)
	if err != nil {
		it.Err = err
	} else if data != nil {
		it.Data = data
	}
}

var errNoBytes = errors.New("the item has no bytes")

// settable returns why it cannot be stored, before anything is sent.
func (c *core) settable(it *driver.Item) error {
	switch n := len(it.Data); {
	case it.Data == nil:
		return errNoBytes
	case c.maxValue > 0 && n > c.maxValue:
		return fmt.Errorf("%w: it has %d bytes, MaxValue is %d", memcache.ErrTooLarge, n, c.maxValue)
	}
	return c.check(it.Key)
}

// setOp returns the command that stores it, whatever is there.
func setOp(it *driver.Item) memcache.Op {
	op := memcache.Op{Kind: memcache.Set, Key: it.Key, TTL: seconds(it.TTL), Once: it.Once}
	stored(&op, it.Data)
	return op
}

// deleted returns the error of a Delete of that many keys.
func (f *faults) deleted(asked int) error {
	if f.bad == nil || asked == 1 {
		return f.first
	}
	return fmt.Errorf("%w (for %d of %d keys)", f.first, len(f.bad), asked)
}
