package screen_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/screen"
)

// What is not a terminal gets a line every second, and one at the end.
func TestLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		s := screen.New(&out, demo.Modes, 200)
		n := 0
		stop := s.Follow(demo.Dogpile, func() demo.Counts {
			n++
			return demo.Counts{Answered: 10 * n, Creations: n, StaleServed: 2 * n, Errors: n - 1}
		})
		<-time.After(1500 * time.Millisecond)
		stop()
		s.Print("a  sentence")
		want := "dogpile    1.0s  10 of 200 answered, 1 creations, 2 stale\n" +
			"dogpile    1.5s  20 of 200 answered, 2 creations, 4 stale, 1 errors\n" +
			"a  sentence\n"
		if out.String() != want || s.Columns() != 0 {
			t.Errorf("got %q and %d columns", out.String(), s.Columns())
		}
	})
}
