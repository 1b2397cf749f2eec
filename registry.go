package dogpile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// registry holds what settings can name.
type registry[T any] struct {
	kind string // "codec", for messages
	mu   sync.RWMutex
	m    map[string]T
}

// add panics if v is nil, name is empty or taken.
func (r *registry[T]) add(name string, v T, isNil bool) {
	if isNil {
		panic("dogpile: " + r.kind + " " + name + " is registered as nil")
	}
	if name == "" {
		panic("dogpile: " + r.kind + " is registered without a name")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.m[name]; taken {
		panic("dogpile: " + r.kind + " " + name + " is registered twice")
	}
	r.m[name] = v
}

func (r *registry[T]) named(name string) (T, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	v, ok := r.m[name]
	if !ok {
		return v, fmt.Errorf("unknown %s %q (forgotten import?); known: %s", r.kind, name, strings.Join(slices.Sorted(maps.Keys(r.m)), ", "))
	}
	return v, nil
}
