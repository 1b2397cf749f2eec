package watching_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/watching"
)

// TestAskThoughOthersComeAndGo: who comes and goes must not put off the next question for ever.
func TestAskThoughOthersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all sync.WaitGroup
		asked := 0
		w := &watching.Watchers{Ask: func() { asked++ }, Go: func(task func()) bool { all.Go(task); return true }}
		stop := w.Watch(time.Second)
		for range 100 {
			w.Watch(time.Second)()
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if asked < 30 {
			t.Errorf("asked %d times in 10 s, want every quarter of a second", asked)
		}
		stop()
		all.Wait()
	})
}
