package drivertest_test

import (
	"context"
	"errors"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// telling returns a mutant that changes what is told of a holder.
func telling(change func(m *mutant, key string, h *driver.Holder, held *bool)) mutant {
	return mutant{holder: func(m *mutant, ctx context.Context, key string) (driver.Holder, bool, error) {
		h, held, err := m.Reference.Holder(ctx, key)
		if err == nil {
			change(m, key, &h, &held)
		}
		return h, held, err
	}}
}

var holderMutants = []broken{
	{"all leases are held", "holder/it tells", telling(func(_ *mutant, _ string, _ *driver.Holder, held *bool) { *held = true })},
	{"no lease is held", "holder/it tells", telling(func(_ *mutant, _ string, h *driver.Holder, held *bool) { *h, *held = driver.Holder{}, false })},
	{"somebody who holds nothing", "holder/it tells", telling(func(_ *mutant, _ string, h *driver.Holder, held *bool) { h.PID = os.Getpid() })},
	{"the last holder, when there is none any more", "holder/it tells", telling(func(m *mutant, key string, h *driver.Holder, held *bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if *held {
			m.since[key] = h.Since
		} else if since, was := m.since[key]; was {
			h.Since, *held = since, true
		}
	})},
	{"another process", "holder/it is this process", telling(func(_ *mutant, _ string, h *driver.Holder, _ *bool) { h.PID++ })},
	{"another host", "holder/it is this process", telling(func(_ *mutant, _ string, h *driver.Holder, _ *bool) { h.Host += "x" })},
	{"another program", "holder/it is this process", telling(func(_ *mutant, _ string, h *driver.Holder, _ *bool) { h.Program = "python" })},
	{"since the lease ends", "holder/it is this process", telling(func(_ *mutant, _ string, h *driver.Holder, held *bool) {
		if *held {
			h.Since = h.Since.Add(time.Hour)
		}
	})},
	{"since it was asked", "holder/since when", telling(func(_ *mutant, _ string, h *driver.Holder, held *bool) {
		if *held {
			h.Since = time.Now()
		}
	})},
	{"since the first holder", "holder/since when", telling(func(m *mutant, key string, h *driver.Holder, held *bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if first, was := m.since[key]; was && *held {
			h.Since = first
		} else if *held {
			m.since[key] = h.Since
		}
	})},
	{"one holder for all keys", "holder/each key", telling(func(m *mutant, _ string, _ *driver.Holder, held *bool) {
		*held = *held || m.n.Load() > 0
	}).holding()},
	{"a context that is done means that nobody holds", "holder/with a context", mutant{holder: func(m *mutant, ctx context.Context, key string) (driver.Holder, bool, error) {
		h, held, _ := m.Reference.Holder(ctx, key)
		return h, held, nil
	}}},
}

// holding makes m count the leases that it grants.
func (m mutant) holding() mutant {
	m.tryLock = func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		l, err := m.Reference.TryLock(ctx, key, ttl)
		if l != nil {
			m.n.Add(1)
		}
		return l, err
	}
	return m
}

// finding returns a mutant that changes what is found, or leaves it out.
func finding(change func(f *driver.Found) bool) mutant {
	return mutant{scan: func(m *mutant, ctx context.Context, prefix string, found func(driver.Found) bool) error {
		return m.Reference.Scan(ctx, prefix, func(f driver.Found) bool { return !change(&f) || found(f) })
	}}
}

// matching returns a mutant that finds the keys which match.
func matching(match func(key, prefix string) bool) mutant {
	return mutant{scan: func(m *mutant, ctx context.Context, prefix string, found func(driver.Found) bool) error {
		return m.Reference.Scan(ctx, "", func(f driver.Found) bool { return !match(f.Key, prefix) || found(f) })
	}}
}

var scanMutants = []broken{
	{"prefixes are patterns", "scan/it finds what", matching(func(key, prefix string) bool {
		is, _ := path.Match(prefix+"*", key)
		return is
	})},
	{"prefixes are anywhere", "scan/it finds what", matching(strings.Contains)},
	{"lines are keys", "scan/it finds what", matching(func(key, prefix string) bool {
		return strings.HasPrefix(key, prefix) && !strings.Contains(key, "\n")
	})},
	{"keys are text", "scan/it finds what", finding(func(f *driver.Found) bool { f.Key = strings.ToValidUTF8(f.Key, "?"); return true })},
	{"the key that is the prefix is none", "scan/it finds what", matching(func(key, prefix string) bool { return strings.HasPrefix(key, prefix) && key != prefix })},
	{"the size of key and value", "scan/it tells size", finding(func(f *driver.Found) bool { f.Size += len(f.Key); return true })},
	{"the TTL in another unit", "scan/it tells size", finding(func(f *driver.Found) bool { f.TTL /= 1000; return true })},
	{"a TTL where there is none", "scan/it tells size", finding(func(f *driver.Found) bool { f.TTL = max(f.TTL, time.Second); return true })},
	{"no leases", "scan/it finds leases", finding(func(f *driver.Found) bool { return f.Holder == nil })},
	{"leases that look like entries", "scan/it finds leases", finding(func(f *driver.Found) bool { f.Holder = nil; return true })},
	{"leases in place of entries", "scan/it finds leases", finding(func(f *driver.Found) bool {
		return f.Holder != nil || !strings.HasSuffix(f.Key, "both")
	})},
	{"leases of nobody", "scan/it finds leases", finding(func(f *driver.Found) bool {
		if f.Holder != nil {
			f.Holder = new(driver.Holder)
		}
		return true
	})},
	{"leases under the keys that the backend has for them", "scan/it finds leases", finding(func(f *driver.Found) bool {
		if f.Holder != nil {
			f.Key += "_lock"
		}
		return true
	})},
	{"what is over", "scan/what is over", mutant{
		set: func(m *mutant, ctx context.Context, items []driver.Item) error {
			m.mu.Lock()
			for _, it := range items {
				m.items[it.Key] = it
			}
			m.mu.Unlock()
			return m.Reference.Set(ctx, items)
		},
		scan: func(m *mutant, ctx context.Context, prefix string, found func(driver.Found) bool) error {
			for key := range m.items {
				if strings.HasPrefix(key, prefix) && !found(driver.Found{Key: key}) {
					return nil
				}
			}
			return nil
		},
	}},
	{"pages that are counted", "scan/what is there", mutant{scan: func(m *mutant, ctx context.Context, prefix string, found func(driver.Found) bool) error {
		for at := 0; ; at++ {
			var keys []string
			if err := m.Reference.Scan(ctx, prefix, func(f driver.Found) bool { keys = append(keys, f.Key); return true }); err != nil {
				return err
			}
			slices.Sort(keys)
			if at >= len(keys) || !found(driver.Found{Key: keys[at]}) {
				return nil
			}
		}
	}}},
	{"found is not listened to", "scan/it ends when", mutant{scan: func(m *mutant, ctx context.Context, prefix string, found func(driver.Found) bool) error {
		return m.Reference.Scan(ctx, prefix, func(f driver.Found) bool { found(f); return true })
	}}},
	{"an end is an error", "scan/it ends when", mutant{scan: func(m *mutant, ctx context.Context, prefix string, found func(driver.Found) bool) error {
		more := true
		err := m.Reference.Scan(ctx, prefix, func(f driver.Found) bool { more = found(f); return more })
		if !more {
			err = errors.New("stopped")
		}
		return err
	}}},
	{"no context", "scan/it ends with", mutant{scan: func(m *mutant, ctx context.Context, prefix string, found func(driver.Found) bool) error {
		return m.Reference.Scan(context.WithoutCancel(ctx), prefix, found)
	}}},
	{"a context that is looked at only at the begin", "scan/it ends with", mutant{scan: func(m *mutant, ctx context.Context, prefix string, found func(driver.Found) bool) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return m.Reference.Scan(context.WithoutCancel(ctx), prefix, found)
	}}},
	{"a context that ends is the end of the list", "scan/it ends with", mutant{scan: func(m *mutant, ctx context.Context, prefix string, found func(driver.Found) bool) error {
		if err := m.Reference.Scan(ctx, prefix, found); ctx.Err() == nil {
			return err
		}
		return nil
	}}},
	{"Close ends it once a page is through", "scan/Close", mutant{scan: func(m *mutant, ctx context.Context, prefix string, found func(driver.Found) bool) error {
		var page []driver.Found
		err := m.Reference.Scan(ctx, prefix, func(f driver.Found) bool { page = append(page, f); return true })
		for _, f := range page {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !found(f) {
				return nil
			}
		}
		return errors.Join(err, m.Reference.Scan(ctx, prefix, func(driver.Found) bool { return false }))
	}}},
	{"Close is the end of the list", "scan/Close", mutant{scan: func(m *mutant, ctx context.Context, prefix string, found func(driver.Found) bool) error {
		_ = m.Reference.Scan(ctx, prefix, found)
		return ctx.Err()
	}}},
	{"a lock that found runs under", "scan/found may use", mutant{
		scan: func(m *mutant, ctx context.Context, prefix string, found func(driver.Found) bool) error {
			return m.alone(func() error { return m.Reference.Scan(ctx, prefix, found) })
		},
		get: func(m *mutant, ctx context.Context, items []driver.Item) error {
			return m.alone(func() error { return m.Reference.Get(ctx, items) })
		},
	}},
}

// alone calls f while nobody else does. One that would wait for ever waits for a minute.
func (m *mutant) alone(f func() error) error {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
		return f()
	case <-time.After(time.Minute):
		return errors.New("waited for a minute")
	}
}
