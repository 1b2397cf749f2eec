package memcached_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// killedHolder has another process take the lease on key, and kills it. It
// returns when that was at the earliest and at the latest.
func killedHolder(t *testing.T, url, key string, ttl time.Duration) (from, to time.Time) {
	t.Helper()
	from = time.Now()
	_, kill := backendtest.HoldElsewhere(t, url, key, ttl)
	to = time.Now()
	kill()
	return from, to
}

// A holder that was killed is not followed before the ttl has passed. One who waits
// from then on follows it as soon as that has, and one who comes late once the ttl has
// passed since. The server alone would keep the lease for a second longer or two. How
// long a busy machine takes over it is a matter of chance, so that not each time needs
// to be that short.
func TestKilledHolderIsFollowedInTime(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	for mode, args := range modes {
		url := backendtest.WithArgs(s.URL(), strings.Fields(args)...)
		for _, ttl := range []time.Duration{time.Second, 1200 * time.Millisecond, 2100 * time.Millisecond} {
			for _, late := range []time.Duration{0, 1300 * time.Millisecond} {
				t.Run(fmt.Sprint(mode, ttl, " late by ", late), func(t *testing.T) {
					t.Parallel()
					b := open(t, s.URL(), options(mode))
					var took []time.Duration
					for len(took) < 10 {
						key := unique(t)
						from, to := killedHolder(t, url, key, ttl)
						pause(late)
						follow(t, b, key, ttl)
						now := time.Now()
						if early := now.Sub(from); early < ttl {
							t.Fatalf("the lease was taken over after %v", early)
						}
						if took = append(took, now.Sub(to)); took[len(took)-1] < late+ttl+600*time.Millisecond {
							return
						}
					}
					t.Errorf("the lease was taken over after %v", took)
				})
			}
		}
	}
}

// follow waits for the lease on key, and takes it.
func follow(t *testing.T, b *memcached.Backend, key string, ttl time.Duration) {
	t.Helper()
	for {
		ok(t, b.Wait(t.Context(), key))
		l, err := b.TryLock(t.Context(), key, ttl)
		ok(t, err)
		if l != nil {
			return
		}
	}
}

func options(mode string) *memcached.Options {
	switch mode {
	case "python_lock":
		return &memcached.Options{PythonLock: true}
	case "binary":
		return &memcached.Options{Protocol: "binary"}
	}
	return &memcached.Options{}
}

// A lease that is extended all the time lasts, however long others have waited
// for it.
func TestWaitersLeaveALeaseThatIsExtended(t *testing.T) {
	t.Parallel()
	for mode := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b, other, key := open(t, sharedServer(t).URL(), options(mode)), open(t, sharedServer(t).URL(), options(mode)), unique(t)
			const ttl = 6 * time.Second // longer than the machine stands still
			l := hold(t, b, key, ttl)
			ctx, cancel := context.WithCancel(t.Context())
			var waiting sync.WaitGroup
			for range 4 {
				waiting.Go(func() {
					for ctx.Err() == nil {
						if other.Wait(ctx, key) == nil && ctx.Err() == nil {
							t.Error("Wait says that the lease is free")
						}
					}
				})
			}
			for began := time.Now(); time.Since(began) < 7*ttl/3; {
				pause(500 * time.Millisecond)
				ok(t, l.Extend(t.Context(), ttl))
			}
			if got, err := other.TryLock(t.Context(), key, time.Minute); got != nil || err != nil {
				t.Errorf("TryLock = %v, %v", got, err)
			}
			cancel()
			waiting.Wait()
			ok(t, l.Release(t.Context()))
		})
	}
}
