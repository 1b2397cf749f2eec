package dogpiletest

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/bridge"
)

// Swap gives a region another backend for one test: an unbounded memory backend
// of its own, with options o, which may be nil. It is for a region in a variable
// of a package, with the caches and functions that were made over it; the region
// may be configured or not. Values go through the codec of o. A fault of o, and
// a closed region, fail the test at once.
//
// When the test ends the region is as it was before: with its backend and
// options, or not configured. What was stored meanwhile is gone, and creators
// have ended; one that runs on for ten seconds fails the test. Region.Stats goes
// on counting through all of this.
//
// Everybody who uses the region gets the other backend. So tests that swap one
// region cannot run at the same time: the second one fails at once. A subtest may
// swap the region of the test around it once more.
func Swap(t testing.TB, r *dogpile.Region, o *dogpile.Options) {
	t.Helper()
	give := take(t, r)
	b := backend(t)
	running := r.Stats().Running
	restore, err := bridge.Swap(r, b, o)
	if err != nil {
		give()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer give()
		if err := restore(); err != nil {
			t.Errorf("the region cannot be what it was before the test: %v", err)
		}
		// Nobody joins these creators any more; they store into b.
		for end := time.Now().Add(patience); r.Stats().Running > running; time.Sleep(time.Millisecond) {
			if !time.Now().Before(end) {
				t.Errorf("%d creators are still running at the end of the test", r.Stats().Running-running)
				break
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

// holders are the names of the tests that have swapped a region.
var holders = struct {
	sync.Mutex
	m map[*dogpile.Region]string
}{m: map[*dogpile.Region]string{}}

// take lets the test have r for itself until it gives it back. It fails the test
// if another one has it, unless t is a subtest of that.
func take(t testing.TB, r *dogpile.Region) (give func()) {
	t.Helper()
	name := t.Name()
	holders.Lock()
	holder, held := holders.m[r]
	mine := !held || name == holder || strings.HasPrefix(name, holder+"/")
	if mine {
		holders.m[r] = name
	}
	holders.Unlock()
	if !mine {
		t.Fatalf("region %q is swapped by %s already: tests that swap one region cannot run in parallel", r.Name(), holder)
	}
	return func() {
		holders.Lock()
		defer holders.Unlock()
		if delete(holders.m, r); held {
			holders.m[r] = holder
		}
	}
}
