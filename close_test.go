package dogpile_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// stuck is a fake, opened from settings, whose Close hangs until the test lets it go on.
type stuck struct {
	*fake
	gate chan struct{}
}

func (s *stuck) Close() error { <-s.gate; return nil }

type stuckKey struct{}

func init() {
	driver.Register("stuck", func(ctx context.Context, _ *driver.Args) (driver.Backend, error) {
		return ctx.Value(stuckKey{}).(*stuck), nil
	})
}

// TestCloseKeepsToItsContext while nothing comes back from the backend, not even for calls
// whose context has ended.
func TestCloseKeepsToItsContext(t *testing.T) {
	hang := func(ops ...string) func(b *stuck) {
		return func(b *stuck) {
			b.in(func(ctx context.Context, op string, keys []string) error {
				for _, hanging := range ops {
					if op == hanging {
						<-b.gate
						return errBackend
					}
				}
				return nil
			})
		}
	}
	for name, row := range map[string]struct {
		before func(b *stuck) // before the creation
		during func(b *stuck) // while the creator runs
		deaf   bool
		ends   bool // the creator ends before Close is called
		tells  []string
	}{
		"while it closes":             {ends: true, tells: []string{"still being closed"}},
		"while a lease is released":   {during: hang("release"), tells: []string{"creations in progress: 1", "still being closed"}},
		"while a lease is extended":   {during: hang("extend", "release"), tells: []string{"creations in progress: 1"}},
		"while a value is stored":     {during: hang("set", "release"), ends: true, tells: []string{"creations in progress: 1"}},
		"while it is read":            {before: hang("get"), tells: []string{"still being closed"}},
		"while it is locked":          {before: hang("lock"), tells: []string{"still being closed"}},
		"with a creator that is deaf": {during: hang("release", "extend"), deaf: true, tells: []string{"creations in progress: 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := &stuck{newFake(t, like{}), make(chan struct{})}
				r := dogpile.NewRegion("test")
				wantErr(t, "ConfigureFrom", r.ConfigureFrom(context.WithValue(bg, stuckKey{}, b), map[string]string{"backend": "stuck"}, ""), nil)
				c := dogpile.NewCache[int](r, nil)
				if row.before != nil {
					row.before(b)
				}
				ends := make(chan struct{})
				got := start(func() (int, error) {
					return c.GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
						if row.during != nil {
							row.during(b)
						}
						if row.deaf {
							ctx = bg
						}
						select {
						case <-ends:
						case <-ctx.Done():
						}
						return 1, ctx.Err()
					})
				})
				synctest.Wait()
				if row.ends {
					close(ends)
					synctest.Wait()
				}
				ctx, cancel := context.WithTimeout(bg, 500*time.Millisecond)
				defer cancel()
				began := time.Now()
				err := r.Close(ctx)
				if took := time.Since(began); took > 600*time.Millisecond {
					t.Errorf("Close took %v", took)
				}
				wantErr(t, "Close", err, context.DeadlineExceeded)
				for _, tell := range row.tells {
					if err == nil || !strings.Contains(err.Error(), tell) {
						t.Errorf("the error %q does not tell: %s", err, tell)
					}
				}
				close(b.gate)
				if !row.ends {
					close(ends)
				}
				<-got
				wantErr(t, "Close again", r.Close(bg), nil)
			})
		})
	}
}
