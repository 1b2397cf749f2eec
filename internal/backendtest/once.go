//go:build unix

package backendtest

import (
	"context"
	"testing"

	"github.com/dogpile-go/dogpile"
)

// LostInvalidation checks that what one invalidation has written does not come back
// after another:
//
//  1. I invalidates: token A is written, and the connection ends before the answer.
//  2. P reads A, begins a creation, and stores.
//  3. Q invalidates: token B is written, and the call returns.
//  4. Were I to send A again, P's entry, which began before 3, would be valid.
func LostInvalidation(t *testing.T, k Kind) {
	s := k.Start(t)
	n := NewNetwork(t, s.Addr())
	far := Region(t, "x", Open(t, k.URL(via(s, n), patient...)), nil)
	near := Region(t, "x", k.open(t, s), nil)
	c := dogpile.NewCache[string](near, nil)
	OK(t, near.Invalidate(t.Context(), dogpile.Hard))
	OK(t, far.Invalidate(t.Context(), dogpile.Hard))
	again := false
	n.Once("_inv:", func() {
		n.Deaf.Store(true)
		n.Once("", func() { // over the next connection
			n.Deaf.Store(false)
			n.Once("_inv:", func() {
				again = true
				_, err := c.GetOrCreate(t.Context(), "k", func(context.Context) (string, error) { return "old", nil })
				OK(t, err)
				OK(t, near.Invalidate(t.Context(), dogpile.Hard))
			})
		})
	})
	OK(t, far.Invalidate(t.Context(), dogpile.Hard))
	if !again {
		t.Error("nothing was sent after the answer was lost")
	}
	if v, found, err := c.Get(t.Context(), "k"); found || err != nil {
		t.Errorf("an entry from before an invalidation that has returned: %q, %v, %v", v, found, err)
	}
}
