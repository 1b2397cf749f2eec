package breaker_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/breaker"
)

var errX = errors.New("x")

func fail() error { return errX }

// Failures with a success between them are not in a row, whenever that began.
func TestFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(5, time.Second)
		done := make(chan bool)
		go func() {
			b.Do(func() error { time.Sleep(time.Second); return nil })
			close(done)
		}()
		synctest.Wait()
		for range 4 {
			b.Do(fail)
		}
		<-done
		b.Do(fail)
		if !b.Closed() {
			t.Error("open after 4 failures, a success and a failure")
		}
	})
}

// A call that fails when the breaker is open already does not prolong the
// cooldown.
func TestLateFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(1, time.Second)
		for i := range 4 {
			go b.Do(func() error { time.Sleep(time.Second*time.Duration(i)*11/10 + 1); return errX })
		}
		time.Sleep(3400 * time.Millisecond)
		if through, _ := b.Do(func() error { return nil }); !through {
			t.Error("3.4 s after the last call was let through none is, with a cooldown of 1 s")
		}
	})
}
