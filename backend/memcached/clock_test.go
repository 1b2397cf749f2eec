package memcached_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memcached"
)

// serverClock is the clock of a memcached, which it looks at each gap from phase on.
type serverClock struct{ phase, gap time.Duration }

func (c serverClock) at(now time.Duration) int64 {
	return int64((c.phase + (now-c.phase)/c.gap*c.gap) / time.Second)
}

// followed returns how long after it was taken a lease is seen to be over, by one who
// looks from late after that on.
func followed(c serverClock, ttl, taken, late time.Duration, says bool) time.Duration {
	w, ends := memcached.Watch{TTL: ttl}, c.at(taken)+int64(memcached.Seconds(ttl))
	for now := taken + late; ; {
		left := ends - c.at(now)
		if left <= 0 {
			return now - taken // the server has dropped it
		}
		if !says {
			left = 0
		}
		over, pause := w.Look(left, time.Time{}.Add(now))
		if over {
			return now - taken
		}
		now += pause
	}
}

// A lease is not over before its ttl has passed, and is over within two seconds more,
// whatever the server's clock shows when it is taken and when it is looked at.
func TestServerWhoseClockSkipsASecond(t *testing.T) {
	t.Parallel()
	const ms, look = time.Millisecond, 100 * time.Millisecond
	for _, ttl := range []time.Duration{10 * ms, time.Second, 1200 * ms, 2100 * ms, 10 * time.Second} {
		for _, late := range []time.Duration{0, 400 * ms, 1300 * ms, 1900 * ms, 3 * time.Second, 6 * time.Second} {
			for _, says := range []bool{true, false} {
				t.Run(fmt.Sprint(ttl, " late by ", late, " server says what is left ", says), func(t *testing.T) {
					t.Parallel()
					most := ttl + 2*time.Second
					if !says {
						most = (ttl + time.Second - 1).Truncate(time.Second) + 2*time.Second
					}
					most = max(late, min(most, late+ttl+ttl/1000)) + look
					for _, slow := range []time.Duration{0, ms, 10 * ms} {
						for phase := time.Duration(0); phase < time.Second; phase += 80 * ms {
							for taken := 2 * time.Second; taken < 5*time.Second; taken += 70 * ms {
								got := followed(serverClock{phase, time.Second + slow}, ttl, taken, late, says)
								if got < ttl || got > most+15*slow {
									t.Fatalf("a clock that is slow by %v, phase %v, taken at %v: over after %v, want %v to %v",
										slow, phase, taken, got, ttl, most)
								}
							}
						}
					}
				})
			}
		}
	}
}

// The clock of a server that stood still for a moment shows a second more than has
// passed. That ends no lease before its ttl.
func TestLeaseOutlastsAServerThatPauses(t *testing.T) {
	t.Parallel()
	for mode := range modes {
		for i := range 2 {
			t.Run(fmt.Sprint(mode, i), func(t *testing.T) {
				t.Parallel()
				s := startServer(t)
				b, other := open(t, s.URL(), options(mode)), open(t, s.URL(), options(mode))
				for round := range 4 {
					key, ttl := unique(t), time.Duration(1+round%2)*time.Second
					start := time.Now()
					hold(t, b, key, ttl)
					s.Stop(t)
					pause(800 * time.Millisecond)
					s.Resume(t)
					ok(t, other.Wait(t.Context(), key))
					if took := time.Since(start); took < ttl {
						t.Errorf("a lease for %v was over after %v", ttl, took)
					}
				}
			})
		}
	}
}
