package proxy

import (
	"context"
	"fmt"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/breaker"
)

// visit is the part of a batch that is for one server.
type visit struct {
	server, key string // key is one of its keys
	probe       bool
	refusal     error // why it is not made; nil: it is
}

// visits is a batch, server by server.
type visits struct {
	all []visit
	of  []int // the visit of each item, or key
}

// visits sorts n keys by their servers.
func (p *breakerProxy) visits(n int, key func(i int) string) *visits {
	v := &visits{of: make([]int, n)}
	at := make(map[string]int, 1)
	for i := range n {
		k := key(i)
		server := p.Shard(k)
		j, seen := at[server]
		if !seen {
			j = len(v.all)
			at[server] = j
			v.all = append(v.all, visit{server: server, key: k})
		}
		v.of[i] = j
	}
	return v
}

// enter asks for each server whether it may be visited, and reports whether all
// may. Its error is for the case that none may.
func (p *breakerProxy) enter(ctx context.Context, v *visits) (all bool, err error) {
	refused := 0
	for i := range v.all {
		one := &v.all[i]
		if one.probe, one.refusal = p.b.Enter(ctx, one.server); one.refusal != nil {
			refused++
		}
	}
	if refused == len(v.all) {
		return false, v.all[0].refusal
	}
	return refused == 0, nil
}

// leave counts the same result for all servers that were visited.
func (v *visits) leave(ctx context.Context, b *breaker.Breaker, result error) {
	for i := range v.all {
		if one := &v.all[i]; one.refusal == nil {
			b.Leave(ctx, one.server, one.key, one.probe, result)
		}
	}
}

// call is Get or Set of the backend.
func (p *breakerProxy) call(ctx context.Context, items []driver.Item, reads bool) error {
	if reads {
		return p.Proxy.Get(ctx, items)
	}
	return p.Proxy.Set(ctx, items)
}

// batch makes a call for the items whose servers may be visited.
func (p *breakerProxy) batch(ctx context.Context, items []driver.Item, reads bool) error {
	switch {
	case len(items) == 0:
		return p.call(ctx, items, reads)
	case p.b.Trouble():
		return p.sortedBatch(ctx, items, reads)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	err := breaker.ErrPanic // until it returns
	defer func() {
		if err != nil || p.b.Trouble() || anyErr(items) {
			p.count(ctx, p.itemVisits(items), items, err)
		}
	}()
	err = p.call(ctx, items, reads)
	return err
}

func anyErr(items []driver.Item) bool {
	for i := range items {
		if items[i].Err != nil {
			return true
		}
	}
	return false
}

func (p *breakerProxy) itemVisits(items []driver.Item) *visits {
	return p.visits(len(items), func(i int) string { return items[i].Key })
}

// sortedBatch is batch while some server has not answered.
func (p *breakerProxy) sortedBatch(ctx context.Context, items []driver.Item, reads bool) error {
	v := p.itemVisits(items)
	all, err := p.enter(ctx, v)
	if err != nil {
		return err
	}
	err = breaker.ErrPanic // until it returns
	defer func() { p.count(ctx, v, items, err) }()
	if all {
		err = p.call(ctx, items, reads)
		return err
	}
	let, at := make([]driver.Item, 0, len(items)), make([]int, 0, len(items))
	for i := range items {
		if refusal := v.all[v.of[i]].refusal; refusal != nil {
			items[i].Err = refusal
			continue
		}
		let, at = append(let, items[i]), append(at, i)
	}
	err = p.call(ctx, let, reads)
	for n, i := range at {
		if items[i].Err = let[n].Err; let[n].Err == nil && reads {
			items[i] = let[n]
		}
	}
	return err
}

// count counts a call for each server that was visited: its error, or else the
// worst of what its items say.
func (p *breakerProxy) count(ctx context.Context, v *visits, items []driver.Item, err error) {
	if err != nil {
		v.leave(ctx, p.b, err)
		return
	}
	results := make([]error, len(v.all))
	for i := range results {
		results[i] = breaker.ErrNothing
	}
	for i := range items {
		result := &results[v.of[i]]
		switch own := items[i].Err; {
		case breaker.Down(own):
			*result = own
		case own == nil && *result == breaker.ErrNothing:
			*result = nil
		}
	}
	for i, one := range v.all {
		if one.refusal == nil {
			p.b.Leave(ctx, one.server, one.key, one.probe, results[i])
		}
	}
}

// Delete implements driver.Backend.
func (p *breakerProxy) Delete(ctx context.Context, keys []string) error {
	switch {
	case len(keys) == 0:
		return p.Proxy.Delete(ctx, keys)
	case p.b.Trouble():
		return p.sortedDelete(ctx, keys)
	}
	return p.deleteTogether(ctx, keys)
}

// deleteTogether removes keys in one call, whose error is for all their servers.
func (p *breakerProxy) deleteTogether(ctx context.Context, keys []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := breaker.ErrPanic // until it returns
	defer func() {
		if err != nil || p.b.Trouble() {
			v := p.visits(len(keys), func(i int) string { return keys[i] })
			v.leave(ctx, p.b, err)
		}
	}()
	err = p.Proxy.Delete(ctx, keys)
	return err
}

// sortedDelete is Delete while some server has not answered. Such a server gets a
// call of its own, so that no other is blamed for its error. The others come
// first: nobody knows how long it takes.
func (p *breakerProxy) sortedDelete(ctx context.Context, keys []string) error {
	v := p.visits(len(keys), func(i int) string { return keys[i] })
	var well []string
	troubled := make([][]string, len(v.all))
	for i, key := range keys {
		if j := v.of[i]; p.b.Troubled(v.all[j].server) {
			troubled[j] = append(troubled[j], key)
		} else {
			well = append(well, key)
		}
	}
	var failed error
	if len(well) > 0 {
		failed = p.deleteTogether(ctx, well)
	}
	for j, keys := range troubled {
		if len(keys) == 0 {
			continue
		}
		err := p.b.Do(ctx, v.all[j].server, keys[0], func() error { return p.Proxy.Delete(ctx, keys) })
		if failed != nil && err != nil {
			err = fmt.Errorf("%w; %w", failed, err)
		}
		if err != nil {
			failed = err
		}
	}
	return failed
}
