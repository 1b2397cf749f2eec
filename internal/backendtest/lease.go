//go:build unix

package backendtest

import (
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// Leases checks what leases are to other programs.
func Leases(t *testing.T, k Kind) {
	t.Run("a lease is an item with a limit", func(t *testing.T) { leaseItem(t, k) })
	if k.Python {
		t.Run("what dogpile.cache holds is left alone", func(t *testing.T) { pythonsLock(t, k) })
	}
}

func leaseItem(t *testing.T, k Kind) {
	t.Parallel()
	s := k.Shared(t)
	for _, tt := range []struct{ arg, prefix string }{{"lock_prefix=", "_lock"}, {"lock_prefix=my.lock:", "my.lock:"}} {
		b, key := Open(t, k.URL(s.URL(), append(patient, tt.arg)...)), Unique(t)
		tokens := map[string]bool{}
		for range 3 {
			l := Hold(t, b, key, 90*time.Second+time.Microsecond)
			token, left, found := s.Item(t, tt.prefix+key)
			if !found || left < 80*time.Second || left > 93*time.Second {
				t.Errorf("the lease's item: %q, %v, %v", token, left, found)
			}
			if !strings.HasPrefix(token, "dogpile-go.") || len(token) < 30 || tokens[token] {
				t.Errorf("token %q, after %v", token, tokens)
			}
			tokens[token] = true
			OK(t, l.Extend(t.Context(), time.Hour))
			if _, left, _ := s.Item(t, tt.prefix+key); left < 3590*time.Second {
				t.Errorf("%v are left of a lease that was extended by an hour", left)
			}
			OK(t, l.Release(t.Context()))
			for _, name := range []string{key, tt.prefix + key} {
				if v, _, found := s.Item(t, name); found {
					t.Errorf("Release has left %s = %q", name, v)
				}
			}
		}
	}
}

// pythonsLock is about a lock whose release raises an exception in Python if it
// is gone.
func pythonsLock(t *testing.T, k Kind) {
	t.Parallel()
	s := k.Shared(t)
	b, ctx, key := k.open(t, s), t.Context(), Unique(t)
	python := s.TakeAsPython(t, key)
	if l, err := b.TryLock(ctx, key, time.Minute); l != nil || err != nil {
		t.Errorf("TryLock of what Python holds = %v, %v", l, err)
	}
	if locked, err := b.Locked(ctx, key); !locked || err != nil {
		t.Errorf("Locked of what Python holds = %v, %v", locked, err)
	}
	OK(t, Set(ctx, b, driver.Item{Key: key, Data: []byte("v")}))
	WantValue(t, b, key, "v")
	OK(t, b.Delete(ctx, []string{key}))
	WantValue(t, b, key, "(none)")
	if token, _, found := s.Item(t, "_lock"+key); !found || token != python {
		t.Errorf("Python's lock became %q, %v", token, found)
	}
}
