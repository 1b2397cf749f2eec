package drivertest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

var dataMutants = []broken{
	{"Fenced without Locks", "caps/they", mutant{caps: func(c *driver.Caps) { c.Locks = false }}},
	{"negative limit", "caps/they", mutant{caps: func(c *driver.Caps) { c.MaxKeyLen = -1 }}},
	{"Mangle over MaxKeyLen", "caps/Mangle", mutant{caps: func(c *driver.Caps) {
		c.MaxKeyLen, c.Mangle = 250, func(key string) string { return key + "!" }
	}}},
	{"Mangle that collides", "data/keys", mutant{caps: func(c *driver.Caps) {
		c.MaxKeyLen, c.Mangle = 250, strings.ToLower
	}, set: setEach(func(it *driver.Item) { it.Key = strings.TrimRight(it.Key, " ") })}},
	{"Shard tells of another server every time", "caps/Shard", mutant{shard: func(m *mutant, _ string) string {
		return fmt.Sprint("server", m.n.Add(1))
	}}},
	{"Shard names no server for some keys", "caps/Shard", mutant{shard: func(_ *mutant, key string) string {
		if strings.ContainsAny(key, "{}") {
			return ""
		}
		return "server"
	}}},
	{"Shard names a server for some keys alone", "caps/Shard", mutant{shard: func(_ *mutant, key string) string {
		if strings.ContainsAny(key, "{}") {
			return "server"
		}
		return ""
	}}},
	{"Drop removes the others", "data/Drop", mutant{drop: func(m *mutant, drop func(*driver.Item) bool) {
		m.Reference.Drop(func(it *driver.Item) bool { return !drop(it) })
	}}},
	{"Drop removes nothing", "data/Drop", mutant{drop: func(*mutant, func(*driver.Item) bool) {}}},
	{"Drop offers keys alone", "data/Drop", mutant{drop: func(m *mutant, drop func(*driver.Item) bool) {
		m.Reference.Drop(func(it *driver.Item) bool { return drop(&driver.Item{Key: it.Key}) })
	}}},
	{"Drop revokes leases", "data/Drop", mutant{drop: func(m *mutant, drop func(*driver.Item) bool) {
		var keys []string
		m.Reference.Drop(func(it *driver.Item) bool {
			if drop(it) {
				keys = append(keys, it.Key)
			}
			return false
		})
		_ = m.Reference.Delete(context.Background(), keys)
	}}},
	{"second Close panics", "close/", mutant{close: func(m *mutant) error {
		if m.n.Add(1) > 1 {
			panic("close of closed channel")
		}
		return nil
	}}},
	{"TryLock after Close panics", "close/", mutant{
		close: func(m *mutant) error { m.n.Add(1); return nil },
		tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
			if m.n.Load() > 0 {
				panic("send on closed channel")
			}
			return m.Reference.TryLock(ctx, key, ttl)
		}}},
	{"stores nothing", "data/a value is found", mutant{set: func(*mutant, context.Context, []driver.Item) error { return nil }}},
	{"finds everything", "data/a missing key", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		err := m.Reference.Get(ctx, items)
		for i := range items {
			if !items[i].Found() {
				items[i].Data = []byte{}
			}
		}
		return err
	}}},
	{"Get overwrites items that it does not find", "data/a missing key", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		for i := range items {
			items[i].Data = nil
		}
		return m.Reference.Get(ctx, items)
	}}},
	{"Set never replaces", "data/Set replaces", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		had := slices.Clone(items)
		for i := range had {
			had[i] = driver.Item{Key: items[i].Key}
		}
		if err := m.Reference.Get(ctx, had); err != nil {
			return err
		}
		for i := range had {
			if !had[i].Found() {
				if err := m.Reference.Set(ctx, items[i:i+1]); err != nil {
					return err
				}
			}
		}
		return nil
	}}},
	{"Delete of an absent key fails", "data/Delete", mutant{delete: func(m *mutant, ctx context.Context, keys []string) error {
		had := make([]driver.Item, len(keys))
		for i, key := range keys {
			had[i].Key = key
		}
		if err := m.Reference.Get(ctx, had); err != nil {
			return err
		}
		for i := range had {
			if !had[i].Found() {
				return errors.New("no such key")
			}
		}
		return m.Reference.Delete(ctx, keys)
	}}},
	{"Delete stops at the first absent key", "data/Delete", mutant{delete: func(m *mutant, ctx context.Context, keys []string) error {
		for i, key := range keys {
			had := []driver.Item{{Key: key}}
			if err := m.Reference.Get(ctx, had); err != nil || !had[0].Found() {
				return errors.Join(err, m.Leases().Delete(ctx, keys[i:], nothing))
			}
			if err := m.Reference.Delete(ctx, keys[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}}},
	{"Delete empties everything", "data/Delete", mutant{
		set: func(m *mutant, ctx context.Context, items []driver.Item) error {
			m.mu.Lock()
			for _, it := range items {
				m.items[it.Key] = it
			}
			m.mu.Unlock()
			return m.Reference.Set(ctx, items)
		},
		delete: func(m *mutant, ctx context.Context, keys []string) error {
			m.mu.Lock()
			for key := range m.items {
				keys = append(keys, key)
			}
			m.mu.Unlock()
			return m.Reference.Delete(ctx, keys)
		}}},
	{"empty batch is an error", "data/an empty batch", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		if len(items) == 0 {
			return errors.New("wrong number of arguments")
		}
		return m.Reference.Get(ctx, items)
	}}},
	{"batches are cut at 100", "data/a batch of 1000", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		return m.Reference.Get(ctx, items[:min(len(items), 100)])
	}}},
	{"Get sorts its items", "data/a batch of 1000", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		slices.SortFunc(items, func(a, b driver.Item) int { return strings.Compare(a.Key, b.Key) })
		return m.Reference.Get(ctx, items)
	}}},
	{"found values close ranks", "data/found and missing", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		inner := slices.Clone(items)
		if err := m.Reference.Get(ctx, inner); err != nil {
			return err
		}
		next := 0
		for _, it := range inner {
			if it.Found() {
				items[next].Data, items[next].Object = it.Data, it.Object
				next++
			}
		}
		return nil
	}}},
	{"repeats are answered once", "data/the same key", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		seen := map[string]bool{}
		for i := range items {
			if !seen[items[i].Key] {
				if err := m.Reference.Get(ctx, items[i:i+1]); err != nil {
					return err
				}
			}
			seen[items[i].Key] = true
		}
		return nil
	}}},
	{"empty is missing", "data/an empty value", mutant{get: getEach(func(it *driver.Item) {
		if len(it.Data) == 0 {
			it.Data = nil
		}
	})}},
	{"keys fold case", "data/keys", mangled(strings.ToLower)},
	{"keys are trimmed", "data/keys", mangled(strings.TrimSpace)},
	{"keys are cut", "data/keys", mangled(func(key string) string { return key[:min(len(key), 255)] })},
	{"values end at a zero byte", "data/a value may hold", mutant{get: getEach(func(it *driver.Item) {
		it.Data, _, _ = bytes.Cut(it.Data, []byte{0})
	})}},
	{"values are trimmed", "data/a value may hold", mutant{get: getEach(func(it *driver.Item) { it.Data = bytes.TrimSpace(it.Data) })}},
	{"large values are cut", "data/a large value", mutant{set: setEach(func(it *driver.Item) { it.Data = it.Data[:min(len(it.Data), 1<<20)] })}},
	{"values over MaxValue are cut", "data/a value over MaxValue", mutant{
		caps: func(c *driver.Caps) { c.MaxValue = 1000 },
		set:  setEach(func(it *driver.Item) { it.Data = it.Data[:min(len(it.Data), 1000)] })}},
	{"a value over MaxValue fails the batch", "data/a value over MaxValue", mutant{
		caps: func(c *driver.Caps) { c.MaxValue = 1000 },
		set: func(m *mutant, ctx context.Context, items []driver.Item) error {
			for i := range items {
				if len(items[i].Data) > 1000 {
					return errors.New("too large")
				}
			}
			return m.Reference.Set(ctx, items)
		}}},
	{"a cancelled Get finds nothing", "data/a context", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		if ctx.Err() != nil {
			return nil
		}
		return m.Reference.Get(ctx, items)
	}}},
	{"a cancelled Delete deletes nothing", "data/a context", mutant{delete: func(m *mutant, ctx context.Context, keys []string) error {
		if ctx.Err() != nil {
			return nil
		}
		return m.Reference.Delete(ctx, keys)
	}}},
	{"Set writes to Data", "ownership/Set", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		for i := range items {
			data := items[i].Data
			items[i].Data = bytes.Clone(data)
			if len(data) > 0 {
				data[0] ^= 1
			}
		}
		err := m.Reference.Set(ctx, items)
		for i := range items {
			if len(items[i].Data) > 0 {
				items[i].Data[0] ^= 1
			}
		}
		return err
	}}},
	{"Set sorts its items", "ownership/Set", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		slices.SortFunc(items, func(a, b driver.Item) int { return strings.Compare(a.Key, b.Key) })
		return m.Reference.Set(ctx, items)
	}}},
	{"Set writes a default TTL where there was none", "ownership/Set writes", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		for i := range items {
			if items[i].TTL == 0 {
				items[i].TTL = 24 * time.Hour
			}
		}
		return m.Reference.Set(ctx, items)
	}}},
	{"Set takes the leases out of its items", "ownership/Set writes", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		err := m.Reference.Set(ctx, items)
		for i := range items {
			items[i].Lease = nil
		}
		return err
	}}},
	{"Set keeps pointers to its items", "ownership/Set does not keep", mutant{
		set: func(m *mutant, ctx context.Context, items []driver.Item) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			for i := range items {
				m.kept[items[i].Key] = &items[i]
			}
			return nil
		},
		get: func(m *mutant, ctx context.Context, items []driver.Item) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			for i := range items {
				if it := m.kept[items[i].Key]; it != nil {
					items[i].Data = it.Data
				}
			}
			return nil
		}}},
	{"Delete sorts its keys", "ownership/Delete", mutant{delete: func(m *mutant, ctx context.Context, keys []string) error {
		slices.Sort(keys)
		return m.Reference.Delete(ctx, keys)
	}}},
	{"Set writes into the old value", "ownership/what was stored", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		inner := slices.Clone(items)
		for i := range inner {
			if inner[i].Object == nil {
				m.bytes[inner[i].Key] = append(m.bytes[inner[i].Key][:0], inner[i].Data...)
				inner[i].Data = m.bytes[inner[i].Key]
			}
		}
		err := m.Reference.Set(ctx, inner)
		for i := range inner {
			items[i].Err = inner[i].Err
		}
		return err
	}}},
	{"Get answers from one buffer", "ownership/what was stored", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		err := m.Reference.Get(ctx, items)
		buf := m.bytes["buffer"][:0]
		for i := range items {
			if items[i].Data != nil {
				from := len(buf)
				buf = append(buf, items[i].Data...)
				items[i].Data = buf[from:]
			}
		}
		m.bytes["buffer"] = buf
		return err
	}}},
	{"an Object that is bytes becomes Data", "ownership/an Object is kept", mutant{get: getEach(func(it *driver.Item) {
		if b, ok := it.Object.([]byte); ok {
			it.Data, it.Object = b, nil
		}
	})}},
	{"Get leaves an old Object beside Data", "ownership/an Object and bytes", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		err := m.Reference.Get(ctx, items)
		for i := range items {
			if items[i].Object == nil {
				items[i].Object = m.items[items[i].Key].Object
			} else {
				m.items[strings.Clone(items[i].Key)] = items[i]
			}
		}
		return err
	}, set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		for i := range items {
			if items[i].Object != nil {
				m.items[items[i].Key] = items[i]
			}
		}
		return m.Reference.Set(ctx, items)
	}}},
	{"Get remembers the last key", "ownership/Get does not", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		for i := range items {
			if items[i].Key == m.last.Key {
				items[i].Data, items[i].Object = m.last.Data, m.last.Object
				continue
			}
			if err := m.Reference.Get(ctx, items[i:i+1]); err != nil {
				return err
			}
			m.last = items[i]
		}
		return nil
	}, set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.last = driver.Item{}
		return m.Reference.Set(ctx, items)
	}}},
	{"TTL is ignored", "ttl/an entry", mutant{set: setEach(func(it *driver.Item) { it.TTL = 0 })}},
	{"TTL is halved", "ttl/an entry", mutant{set: setEach(func(it *driver.Item) { it.TTL /= 2 })}},
	{"TTL is rounded down", "ttl/a TTL below", mutant{
		caps: func(c *driver.Caps) { c.TTLUnit = time.Second },
		set:  setEach(func(it *driver.Item) { it.TTL = it.TTL.Truncate(time.Second) })}},
	{"TTL is rounded down to the unit or up to one", "ttl/a TTL below", mutant{
		caps: func(c *driver.Caps) { c.TTLUnit = time.Second },
		set: setEach(func(it *driver.Item) {
			if it.TTL > 0 {
				it.TTL = max(it.TTL.Truncate(time.Second), time.Second)
			}
		})}},
	{"TTL is rounded to seconds without saying so", "ttl/it is kept to the unit", mutant{set: setEach(func(it *driver.Item) {
		it.TTL = (it.TTL + time.Second - 1).Truncate(time.Second)
	})}},
	{"TTL over 30 days is in the past", "ttl/a long one", mutant{set: setEach(func(it *driver.Item) {
		if it.TTL > 30*24*time.Hour {
			it.TTL = 1
		}
	}), get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		time.Sleep(time.Nanosecond)
		return m.Reference.Get(ctx, items)
	}}},
	{"the first TTL stays", "ttl/a later Set", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		inner := slices.Clone(items)
		for i := range inner {
			if first, ok := m.items[inner[i].Key]; ok {
				inner[i].TTL = first.TTL
			} else {
				m.items[inner[i].Key] = inner[i]
			}
		}
		err := m.Reference.Set(ctx, inner)
		for i := range inner {
			items[i].Err = inner[i].Err
		}
		return err
	}}},
	{"what has no TTL lasts a day", "ttl/without one", mutant{
		set: setEach(func(it *driver.Item) {
			if it.TTL == 0 {
				it.TTL = 24 * time.Hour
			}
		}),
		get: getEach(func(it *driver.Item) { it.TTL = 0 })}},
	{"TTL is not kept under a lease", "ttl/it counts", mutant{set: setEach(func(it *driver.Item) {
		if it.Lease != nil {
			it.TTL = 0
		}
	})}},
	{"Get says the whole TTL is left", "ttl/what Get says", mutant{get: getEach(func(it *driver.Item) {
		if it.TTL > 0 {
			it.TTL = time.Hour
		}
	})}},
	{"Get makes up a TTL", "ttl/what Get says", mutant{get: getEach(func(it *driver.Item) {
		if it.TTL == 0 {
			it.TTL = time.Minute
		}
	})}},
	{"one TTL for the batch", "ttl/it is each item's own", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		if len(items) == 0 {
			return nil
		}
		ttl := items[0].TTL
		return setEach(func(it *driver.Item) { it.TTL = ttl })(m, ctx, items)
	}}},
}
