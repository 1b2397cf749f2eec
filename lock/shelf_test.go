package lock_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/lock"
)

// shelf keeps several values, each with a mutex, for tests of Many. It notes in
// order what is done there, as "try a" or "create a b".
type shelf struct {
	site // for the notes
	vals map[string]*site
	mxs  map[string]*mutex
	can  bool // mutexes are Waiters

	mu      sync.Mutex
	creates map[string]int
}

func newShelf(keys ...string) *shelf {
	sh := &shelf{vals: map[string]*site{}, mxs: map[string]*mutex{}, creates: map[string]int{}}
	for _, key := range keys {
		sh.vals[key] = new(site)
		sh.mxs[key] = &mutex{s: &sh.site, name: " " + key}
	}
	return sh
}

func (sh *shelf) mutex(key string) lock.Mutex {
	if sh.can {
		return waiter{sh.mxs[key]}
	}
	return sh.mxs[key]
}

// single returns the Lock of one value.
func (sh *shelf) single(fs *lock.Flights, key string) *lock.Lock[string] {
	l := sh.vals[key].lock(sh.mutex(key))
	l.Key, l.Flights = key, fs
	l.Create = func(context.Context) (string, error) { return sh.next(key), nil }
	return l
}

// next makes "a1", then "a2" and so on.
func (sh *shelf) next(key string) string {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.creates[key]++
	return fmt.Sprint(key, sh.creates[key])
}

// creations returns "a1 b2" for one creation of a and two of b.
func (sh *shelf) creations(keys ...string) string {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	var out []string
	for _, key := range keys {
		out = append(out, fmt.Sprint(key, sh.creates[key]))
	}
	return strings.Join(out, " ")
}

// many returns a Many of the values of keys.
func (sh *shelf) many(fs *lock.Flights, keys ...string) *lock.Many[string] {
	names := func(at []int) string {
		var out []string
		for _, i := range at {
			out = append(out, keys[i])
		}
		return strings.Join(out, " ")
	}
	m := &lock.Many[string]{
		Read: func(ctx context.Context, at []int) (v []string, made []time.Time, _ error) {
			sh.note("read " + names(at))
			for _, i := range at {
				val, at, _ := sh.vals[keys[i]].read(ctx)
				v, made = append(v, val), append(made, at)
			}
			return v, made, nil
		},
		Create: func(_ context.Context, at []int) (v []string, made []bool, _ error) {
			sh.note("create " + names(at))
			for _, i := range at {
				v, made = append(v, sh.next(keys[i])), append(made, true)
			}
			return v, made, nil
		},
		Store: func(ctx context.Context, at []int, v []string) (held []bool) {
			sh.note("store " + names(at))
			for n, i := range at {
				held = append(held, sh.vals[keys[i]].store(ctx, v[n]))
			}
			return held
		},
	}
	m.Enter = func(_ context.Context, wait bool) (func(), error) {
		sh.note(map[bool]string{true: "enter", false: "enter?"}[wait])
		return func() { sh.note("leave") }, nil
	}
	for _, key := range keys {
		m.Locks = append(m.Locks, sh.single(fs, key))
	}
	return m
}

// take has another process hold the locks of keys.
func (sh *shelf) take(t *testing.T, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if !sh.mxs[key].try() {
			t.Fatalf("the mutex of %s is held", key)
		}
	}
}

func (sh *shelf) free(keys ...string) {
	for _, key := range keys {
		sh.mxs[key].free()
	}
}

// idle checks that every lock has been given back and every Enter been left.
func (sh *shelf) idle(t *testing.T) {
	t.Helper()
	synctest.Wait()
	for key, m := range sh.mxs {
		if !m.try() {
			t.Errorf("the mutex of %s is still held", key)
		} else {
			m.free()
		}
	}
	if in, out := sh.count("enter")+sh.count("enter?"), sh.count("leave"); in != out {
		t.Errorf("%d times entered, %d times left", in, out)
	}
}

// results is what a call of a Many returned: the values that are there.
type results struct {
	v   map[string]string
	err error
}

// doMany reads and calls m.Do.
func doMany(ctx context.Context, m *lock.Many[string]) results {
	at := make([]int, len(m.Locks))
	for i := range at {
		at[i] = i
	}
	v, made, err := m.Read(ctx, at)
	if err != nil {
		return results{nil, err}
	}
	vals, ok, err := m.Do(ctx, v, made)
	return gather(m, vals, ok, err)
}

func renewMany(ctx context.Context, m *lock.Many[string]) results {
	vals, ok, err := m.Renew(ctx)
	return gather(m, vals, ok, err)
}

func gather(m *lock.Many[string], vals []string, ok []bool, err error) results {
	got := map[string]string{}
	for i, l := range m.Locks {
		if err == nil && ok[i] {
			got[l.Key] = vals[i]
		}
	}
	return results{got, err}
}

// asyncMany calls do in a goroutine of its own and returns once that is stuck.
func asyncMany(do func(context.Context, *lock.Many[string]) results, ctx context.Context, m *lock.Many[string]) chan results {
	c := make(chan results, 1)
	go func() { c <- do(ctx, m) }()
	synctest.Wait()
	return c
}

// vals makes {"a": "a1"} of "a=a1".
func vals(pairs string) map[string]string {
	m := map[string]string{}
	for pair := range strings.FieldsSeq(pairs) {
		k, v, _ := strings.Cut(pair, "=")
		m[k] = v
	}
	return m
}

// wantMany checks what a call of a Many returned at this moment.
func wantMany(t *testing.T, who string, c chan results, pairs string, err error) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-c:
		if !errors.Is(got.err, err) || err == nil && !maps.Equal(got.v, vals(pairs)) {
			t.Errorf("%s got %v, %v; want %q, %v", who, got.v, got.err, pairs, err)
		}
	default:
		t.Errorf("%s still waits; want %q, %v", who, pairs, err)
		go func() { <-c }()
	}
}
