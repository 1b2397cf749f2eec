package sieve_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/dogpile-go/dogpile/internal/sieve"
)

// table is a Map of values of one type.
type table[V any] struct{ *sieve.Map }

type value[V any] struct {
	sieve.Entry
	v V
}

func newTable[V any](maxEntries, maxSize int) table[V] {
	return table[V]{sieve.New(maxEntries, maxSize)}
}

func (m table[V]) get(key string) (v V, ok bool) {
	if found, ok := m.Get(key).(*value[V]); ok {
		return found.v, true
	}
	return v, false
}

func (m table[V]) set(key string, v V, size int) {
	e := &value[V]{v: v}
	m.Set(key, e, &e.Entry, size)
}

func has(t *testing.T, m table[int], want string) {
	t.Helper()
	got := ""
	for i := range 10 {
		if v, ok := m.get(strconv.Itoa(i)); ok {
			if v != i {
				t.Errorf("%d has the value %d", i, v)
			}
			got += strconv.Itoa(i)
		}
	}
	if got != want {
		t.Errorf("there are %q, want %q", got, want)
	}
}

func fill(m table[int], from, to int) {
	for i := from; i <= to; i++ {
		m.set(strconv.Itoa(i), i, 1)
	}
}

// TestWhatWasAskedForStays: the hand passes what was asked for, once.
func TestWhatWasAskedForStays(t *testing.T) {
	t.Parallel()
	m := newTable[int](4, 0)
	fill(m, 0, 3)
	m.get("0")
	m.get("2")
	fill(m, 4, 4) // the hand passes 0, and takes 1
	fill(m, 5, 5) // it passes 2, and takes 3
	has(t, m, "0245")
	fill(m, 6, 6) // all have been asked for: after a turn it takes the first it comes to
	if m.Len() != 4 || m.Size() != 4 {
		t.Errorf("Len is %d, Size is %d", m.Len(), m.Size())
	}
	has(t, m, "0256")
}

func TestSizesAreBounded(t *testing.T) {
	t.Parallel()
	m := newTable[int](0, 10)
	m.set("1", 1, 4)
	m.set("2", 2, 4)
	m.set("3", 3, 11) // too large by itself
	has(t, m, "12")
	m.set("2", 2, 11) // and so is what was in its place
	has(t, m, "1")
	m.set("4", 4, 10)
	has(t, m, "4")
	if m.Size() != 10 || m.Len() != 1 {
		t.Errorf("Size is %d, Len is %d", m.Size(), m.Len())
	}
}

func TestLatestValueCounts(t *testing.T) {
	t.Parallel()
	m := newTable[int](2, 0)
	m.set("k", 1, 1)
	m.set("k", 2, 5)
	if v, ok := m.get("k"); v != 2 || !ok || m.Len() != 1 || m.Size() != 5 {
		t.Errorf("Get = %d, %v; Len is %d, Size is %d", v, ok, m.Len(), m.Size())
	}
}

// TestModel compares a map with a list of what SIEVE keeps, written down by its definition.
func TestModel(t *testing.T) {
	t.Parallel()
	const bound = 50 // of one shard
	m, model := newTable[int](bound, 0), new(reference)
	r := rand.New(rand.NewPCG(1, 2))
	for step := range 100_000 {
		key := strconv.Itoa(int(r.ExpFloat64() * 40))
		if r.IntN(3) > 0 {
			_, ok := m.get(key)
			if want := model.get(key); ok != want {
				t.Fatalf("step %d: Get of %s is %v, want %v", step, key, ok, want)
			}
			continue
		}
		m.set(key, step, 1)
		model.set(key, bound)
	}
	if m.Len() != bound {
		t.Errorf("Len is %d", m.Len())
	}
}

// reference is SIEVE in a slice, the oldest first.
type reference struct {
	keys  []string
	asked map[string]bool
	hand  string // the key that it is at; "": the oldest
}

func (m *reference) at(key string) int {
	for i, k := range m.keys {
		if k == key {
			return i
		}
	}
	return -1
}

func (m *reference) get(key string) bool {
	if m.at(key) < 0 {
		return false
	}
	m.asked[key] = true
	return true
}

func (m *reference) remove(i int) {
	if m.keys[i] == m.hand {
		m.hand = ""
		if i+1 < len(m.keys) {
			m.hand = m.keys[i+1]
		}
	}
	m.keys = append(m.keys[:i], m.keys[i+1:]...)
}

func (m *reference) set(key string, bound int) {
	if m.asked == nil {
		m.asked = make(map[string]bool)
	}
	asked := false
	if i := m.at(key); i >= 0 {
		asked = m.asked[key]
		m.remove(i)
	}
	m.keys, m.asked[key] = append(m.keys, key), asked
	for len(m.keys) > bound {
		i := max(m.at(m.hand), 0)
		n := m.keys[i]
		m.hand = ""
		if i+1 < len(m.keys) {
			m.hand = m.keys[i+1]
		}
		if n != key && !m.asked[n] {
			m.remove(i)
		} else if n != key {
			m.asked[n] = false
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	m := newTable[string](1000, 100_000)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 0))
			for range 20_000 {
				key := fmt.Sprint(r.IntN(3000))
				if v, ok := m.get(key); ok && v != key {
					t.Errorf("%s has the value of %s", key, v)
				}
				if r.IntN(2) == 0 {
					m.set(key, key, r.IntN(200))
				}
			}
		})
	}
	all.Wait()
	if m.Len() > 1000 || m.Size() > 100_000 || m.Len() < 500 {
		t.Errorf("Len is %d, Size is %d", m.Len(), m.Size())
	}
}

func TestGetAllocatesNothing(t *testing.T) {
	m := newTable[int](100, 0)
	fill(m, 0, 9)
	if n := testing.AllocsPerRun(100, func() { m.get("3"); m.get("none") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
