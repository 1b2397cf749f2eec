// Package dogpiletest helps to test code that uses package dogpile: with a
// region that is ready, with another backend for a region that the code has
// itself, and with a recorder of what happens in them. All work inside a
// testing/synctest bubble, where entries expire without waiting.
//
// Values go through the codec, as they do with a backend that keeps bytes. So a
// test sees what production will see: a field that the codec leaves out is zero
// in a hit, a type that it cannot represent is an error, and nobody shares a
// pointer with the cache.
package dogpiletest

import (
	"context"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
)

// patience is how long the end of a test waits for creators.
const patience = 10 * time.Second

// Region returns a region over an unbounded memory backend of its own, named
// after the test and configured with o, which may be nil. Values go through the
// codec of o. A fault of o fails the test at once.
//
// The region is closed when the test ends. A creator that runs on for ten
// seconds after that is cancelled and fails the test. So does a delete of
// Options.RetryDeletes that still cannot be done.
func Region(t testing.TB, o *dogpile.Options) *dogpile.Region {
	t.Helper()
	b := backend(t)
	r := dogpile.NewRegion(t.Name())
	if err := r.Configure(b, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Errorf("at the end of the test: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// backend returns a backend that keeps bytes, not Go values.
func backend(t testing.TB) *memory.Backend {
	t.Helper()
	b, err := memory.New(&memory.Options{Copy: true})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
