package tiles_test

import (
	"bytes"
	"fmt"
	"image/png"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/tiles"
)

// TestWhereATileComesFrom: the header tells it, in the time of a bubble.
func TestWhereATileComesFrom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, err := memory.New(nil)
		ok(t, err)
		defer b.Close()
		region := dogpile.NewRegion("tiles")
		ok(t, region.Configure(b, &dogpile.Options{Expiration: 10 * time.Second, StaleFor: time.Minute, Runner: dogpile.Background, Logger: slog.New(slog.DiscardHandler)}))
		defer region.Close(t.Context())
		m := tiles.New(region, time.Second, "one", "memory")
		ask := func() *httptest.ResponseRecorder {
			res := httptest.NewRecorder()
			m.ServeHTTP(res, httptest.NewRequest(http.MethodGet, "/tile/3/1/2", nil))
			return res
		}
		want := func(from, age string) {
			t.Helper()
			res := ask()
			img, err := png.Decode(bytes.NewReader(res.Body.Bytes()))
			if timing := res.Header().Get("Server-Timing"); err != nil || img.Bounds().Dx() != tiles.Size || !strings.HasPrefix(timing, fmt.Sprintf("cache;desc=%q;dur=", from)) ||
				res.Header().Get("Age") != age || res.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%d, %v (%v), want it %s and %s s old", res.Code, res.Header(), err, from, age)
			}
		}
		first := make(chan string)
		go func() { first <- ask().Header().Get("Server-Timing") }()
		synctest.Wait()
		want("waited", "0")
		if got := <-first; got != `cache;desc="created";dur=1000.000` {
			t.Errorf("who has asked first is told %s", got)
		}
		want("hit", "0")
		time.Sleep(11 * time.Second)
		want("stale", "11")
		time.Sleep(2 * time.Second) // it is drawn behind the scenes
		want("hit", "1")
		ok(t, m.Renew(t.Context(), "3/1/2"))
		want("hit", "0")
		for _, key := range []string{"", "3/1", "3/1/8", "3/1/2/0", "03/1/2"} {
			if err := m.Renew(t.Context(), key); err == nil {
				t.Errorf("%q is renewed", key)
			}
		}
	})
}
