package proxy

import (
	"context"
	"fmt"
	"sync"

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

// enter asks for each server whether it may be visited, and returns how many may.
func (p *breakerProxy) enter(ctx context.Context, v *visits) (let int) {
	for i := range v.all {
		one := &v.all[i]
		if one.probe, one.refusal = p.b.Enter(ctx, one.server); one.refusal == nil {
			let++
		}
	}
	return let
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
	visited := p.enter(ctx, v)
	err := breaker.ErrPanic // until it returns
	defer func() { p.count(ctx, v, items, err) }()
	if visited == len(v.all) {
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
	if visited == 0 {
		err = v.all[0].refusal
		return err
	}
	err = p.call(ctx, let, reads)
	for n, i := range at {
		if items[i].Err = let[n].Err; let[n].Err == nil && reads {
			items[i] = let[n]
		}
	}
	return err
}

// blame returns the error of a call as that of each server. Where it was for several
// it does not tell which of them has failed.
func (v *visits) blame(err error) error {
	if err != nil && len(v.all) > 1 {
		return breaker.SharedError{Err: err}
	}
	return err
}

// count counts a call for each server that was visited: the worst of what its
// items say. Where they say nothing it is the error of the call.
func (p *breakerProxy) count(ctx context.Context, v *visits, items []driver.Item, err error) {
	results := make([]error, len(v.all))
	for i := range results {
		if results[i] = v.blame(err); err == nil {
			results[i] = breaker.ErrNothing
		}
	}
	for i := range items {
		result := &results[v.of[i]]
		switch own := items[i].Err; {
		case breaker.Down(own), err != nil && own != nil:
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

// deleteTogether removes keys in one call.
func (p *breakerProxy) deleteTogether(ctx context.Context, keys []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := breaker.ErrPanic // until it returns
	defer func() {
		if err == nil && !p.b.Trouble() {
			return
		}
		v := p.visits(len(keys), func(i int) string { return keys[i] })
		for _, one := range v.all {
			p.b.Leave(ctx, one.server, one.key, false, v.blame(err))
		}
	}()
	err = p.Proxy.Delete(ctx, keys)
	return err
}

// sortedDelete is Delete while some server has not answered. Such a server gets a
// call of its own, so that no other is blamed for its error. All are made at the
// same time: nobody knows how long one takes.
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
	var calls []func() error
	if len(well) > 0 {
		calls = append(calls, func() error { return p.deleteTogether(ctx, well) })
	}
	for j, keys := range troubled {
		if len(keys) > 0 {
			calls = append(calls, func() error {
				return p.b.Do(ctx, v.all[j].server, keys[0], func() error { return p.Proxy.Delete(ctx, keys) })
			})
		}
	}
	return atOnce(calls)
}

// atOnce makes calls at the same time and returns their errors as one. A panic of
// one is the caller's, as if there had been no other goroutine.
func atOnce(calls []func() error) error {
	if len(calls) == 1 {
		return calls[0]()
	}
	errs, panics := make([]error, len(calls)), make([]any, len(calls))
	var all sync.WaitGroup
	for i, call := range calls {
		errs[i] = breaker.ErrPanic // until it returns, which Goexit prevents
		all.Go(func() {
			defer func() { panics[i] = recover() }()
			errs[i] = call()
		})
	}
	all.Wait()
	var failed error
	for i, err := range errs {
		if panics[i] != nil {
			panic(panics[i])
		}
		if failed != nil && err != nil {
			err = fmt.Errorf("%w; %w", failed, err)
		}
		if err != nil {
			failed = err
		}
	}
	return failed
}
