package watching_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/watching"
)

// watched returns watchers, what counts how often they ask, and what closes them.
func watched() (w *watching.Watchers, asked *atomic.Int64, end func()) {
	asked = new(atomic.Int64)
	closed := make(chan struct{})
	var tasks sync.WaitGroup
	w = &watching.Watchers{
		Ask: func() { asked.Add(1) },
		Go: func(task func()) bool {
			select {
			case <-closed:
				return false
			default:
			}
			tasks.Go(task)
			return true
		},
		Closed: closed,
	}
	return w, asked, func() { close(closed); tasks.Wait() }
}

func TestAsksAsOftenAsTheLeastLagNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, asked, end := watched()
		defer end()
		during := func(d time.Duration) int64 {
			before := asked.Load()
			time.Sleep(d)
			synctest.Wait()
			return asked.Load() - before
		}
		if n := during(time.Minute); n != 0 || w.Lag() != 0 {
			t.Errorf("asked %d times, with a lag of %v, though nobody watches", n, w.Lag())
		}
		slow := w.Watch(40 * time.Second)
		if n := during(40*time.Second + 1); n != 4 {
			t.Errorf("asked %d times in the lag of the only one, want 4", n)
		}
		quick := w.Watch(4 * time.Second)
		if n := during(40 * time.Second); n < 39 || w.Lag() != 4*time.Second {
			t.Errorf("asked %d times in ten of the least lags, which is %v", n, w.Lag())
		}
		quick()
		quick()
		if n := during(40 * time.Second); n < 3 || n > 5 {
			t.Errorf("asked %d times in a lag when the other is gone, want 4", n)
		}
		slow()
		if n := during(time.Hour); n != 0 {
			t.Errorf("asked %d times though nobody watches any more", n)
		}
		defer w.Watch(4 * time.Second)()
		if n := during(4 * time.Second); n < 3 {
			t.Errorf("asked %d times for who came later", n)
		}
	})
}

// TestAsksWhileOthersComeAndGo: each that comes or goes has the pause reckoned anew.
func TestAsksWhileOthersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, asked, end := watched()
		defer end()
		defer w.Watch(4 * time.Second)()
		for range 80 {
			w.Watch(4 * time.Second)()
			time.Sleep(time.Second / 2)
		}
		if n := asked.Load(); n < 30 {
			t.Errorf("asked %d times in ten lags, want about 40", n)
		}
	})
}

func TestEndsWithItsBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, asked, end := watched()
		stop := w.Watch(4 * time.Second)
		time.Sleep(10 * time.Second)
		end() // no goroutine is left, or synctest.Test fails
		before := asked.Load()
		w.Watch(time.Second)()
		stop()
		time.Sleep(time.Minute)
		if n := asked.Load() - before; n != 0 {
			t.Errorf("asked %d times after the end", n)
		}
	})
}
