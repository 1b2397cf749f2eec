package main

import (
	"context"
	"errors"
	"math/rand"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	ttl      = time.Hour
	zipfS    = 1.01    // exponent of the zipf distribution of the asked keys
	sequence = 1 << 20 // calls before the sequence begins again
	manyKeys = 100_000
)

// A Value is what the contestants keep: 100 bytes.
type Value struct {
	ID   uint32
	Body [96]byte
}

// valueOf returns the one right value of key i.
func valueOf(i int) Value {
	v := Value{ID: uint32(i)}
	copy(v.Body[:], strconv.Itoa(i))
	return v
}

// A workload is a set of keys and what is asked for, one after the other.
type workload struct {
	keys   []string
	asks   []ask // their number is a power of two
	misses atomic.Int64
}

// An ask is one call. Its key is a copy of the stored one, as the key of a
// request is: were it the same string, no cache would have to compare its
// bytes. The copies lie one after the other, so that reading them, which is
// not the cache's work, costs next to nothing.
type ask struct {
	key string
	id  uint32 // index of the key
}

// newWorkload makes n keys and a zipf distribution of them. The same n gives
// the same workload. Which keys are popular has nothing to do with the order
// in which they were made and stored.
func newWorkload(n int) *workload {
	r := rand.New(rand.NewSource(1))
	w := &workload{keys: make([]string, n), asks: make([]ask, sequence)}
	for i := range w.keys {
		w.keys[i] = "user:" + strconv.Itoa(10_000_000+i)
	}
	byRank := r.Perm(n)
	zipf := rand.NewZipf(r, zipfS, 1, uint64(n-1))
	var all strings.Builder
	for i := range w.asks {
		id := byRank[zipf.Uint64()]
		w.asks[i].id = uint32(id)
		all.WriteString(w.keys[id])
	}
	rest := all.String()
	for i := range w.asks {
		size := len(w.keys[w.asks[i].id])
		w.asks[i].key, rest = rest[:size], rest[size:]
	}
	return w
}

// capacity is what every bounded contestant is told to hold: everything fits,
// and no policy finds itself so far from full that it skips its bookkeeping.
func (w *workload) capacity() int { return len(w.keys) + len(w.keys)/4 }

var errMissed = errors.New("missed a key that was stored")

// missed is what contestants call for a key they do not find. On the hit path
// that is a failure.
func (w *workload) missed(context.Context) (Value, error) {
	w.misses.Add(1)
	return Value{}, errMissed
}
