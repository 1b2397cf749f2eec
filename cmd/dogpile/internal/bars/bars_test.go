package bars_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/bars"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
)

// What is not a terminal gets a line every second, and one at the end.
func TestLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		b := bars.New(&out, demo.Modes, 200)
		n := 0
		stop := b.Follow(demo.Dogpile, func() demo.Counts {
			n++
			return demo.Counts{Answered: 10 * n, Creations: n, StaleServed: 2 * n, Errors: n - 1}
		})
		<-time.After(1500 * time.Millisecond)
		stop()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		want := "dogpile    1.0s  10 of 200 answered, 1 creations, 2 stale\n" +
			"dogpile    1.5s  20 of 200 answered, 2 creations, 4 stale, 1 errors\n"
		if out.String() != want {
			t.Errorf("got %q", out.String())
		}
	})
}
