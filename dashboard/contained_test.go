package dashboard_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/dashboard"
	"github.com/dogpile-go/dogpile/driver"
)

// badError is an error that panics when it is to be shown.
type badError struct{}

func (badError) Error() string { panic("an error panics") }

// TestABackendThatPanicsFails, and the process goes on; it is asked again.
func TestABackendThatPanicsFails(t *testing.T) {
	for name, row := range map[string]struct {
		do   func(context.Context) error
		want string
	}{
		"a panic":                 {func(context.Context) error { panic("no such shard\u202e") }, `which fails : it panics: no such shard\u202e`},
		"a panic with an error":   {func(context.Context) error { panic(errors.New("nil map")) }, "which fails : it panics: nil map"},
		"an error that panics":    {func(context.Context) error { return badError{} }, "which fails : it panics: an error panics"},
		"runtime.Goexit":          {func(context.Context) error { runtime.Goexit(); return nil }, "which fails : it has ended the goroutine that asked"},
		"an error that is hidden": {func(context.Context) error { return errors.New("a\u2066b") }, `which fails : a\u2066b`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, dashboard.Options{}, dogpile.Options{})
				s.b.be(row.do)
				words(t, s.board, "/")
				synctest.Wait()
				text := words(t, s.board, pageOf)
				wantWords(t, text, row.want, "The backend of products fails.")
				s.b.be(func(context.Context) error { return nil })
				time.Sleep(5 * time.Second)
				words(t, s.board, "/")
				synctest.Wait()
				wantWords(t, words(t, s.board, pageOf), "which answers")
			})
		})
	}
}

// untellable is a backend that panics when it is asked what it is.
type untellable struct {
	driver.Proxy
	panics bool
}

func (u *untellable) Caps() driver.Caps {
	if u.panics {
		panic("caps")
	}
	return u.Proxy.Caps()
}

// TestAPageThatPanicsSaysSo, whatever of the program it calls.
func TestAPageThatPanicsSaysSo(t *testing.T) {
	b := &untellable{Proxy: driver.Proxy{Backend: newBackend(t)}}
	r := newRegion(t, "products", b, dogpile.Options{Mangler: func(key string) string {
		if strings.HasSuffix(key, "bad") {
			panic("no such key\u202e")
		}
		return key
	}})
	board := dashboard.New(&dashboard.Options{
		Regions: []*dogpile.Region{r}, Actions: true,
		Renew: func(context.Context, *dogpile.Region, string) error { panic("no such function") },
	})
	b.panics = true
	wantWords(t, words(t, board, "/"), "products a backend answers")
	key := query("key", "region", "products", "key", "bad")
	w := httptest.NewRecorder()
	board.ServeHTTP(w, httptest.NewRequest(http.MethodGet, key, nil))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `This panics: no such key\u202e`) {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	res := post(t, board, key, form(token(t, board), "renew"), nil)
	if res.StatusCode != http.StatusInternalServerError {
		t.Errorf("a form that panics: %s", res.Status)
	}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("what ends a connection is taken for a panic: %v", p)
		}
	}()
	abort := dashboard.New(&dashboard.Options{
		Regions: []*dogpile.Region{r}, Actions: true,
		Renew: func(context.Context, *dogpile.Region, string) error { panic(http.ErrAbortHandler) },
	})
	post(t, abort, key, form(token(t, abort), "renew"), nil)
}

// TestQuestionsEndWithThoseWhoAsk, soon at least, also where a call of the backend may take any
// time.
func TestQuestionsEndWithThoseWhoAsk(t *testing.T) {
	for name, row := range map[string]struct {
		look func(ctx context.Context, board *dashboard.Dashboard)
		most time.Duration
	}{
		"a page": {func(_ context.Context, board *dashboard.Dashboard) { words(t, board, "/") }, 3 * time.Second},
		"Watch":  {func(ctx context.Context, board *dashboard.Dashboard) { board.Watch(ctx) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, dashboard.Options{}, dogpile.Options{BackendTimeout: dogpile.Never})
				s.b.be(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
				ctx, cancel := context.WithTimeout(bg, time.Second)
				defer cancel()
				row.look(ctx, s.board)
				time.Sleep(row.most)
				synctest.Wait() // the bubble sees to it that no goroutine is left
			})
		})
	}
}

// TestSilenceIsCountedFromItsBeginning, though the backend is asked again and again.
func TestSilenceIsCountedFromItsBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, dashboard.Options{}, dogpile.Options{BackendTimeout: dogpile.Never})
		s.b.be(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		for range 10 {
			words(t, s.board, "/")
			time.Sleep(2 * time.Second)
		}
		wantWords(t, words(t, s.board, pageOf), "which no answer for 2", " s Asked for", "The backend of products does not answer.")
		s.b.be(func(context.Context) error { return nil })
		time.Sleep(4 * time.Second)
		words(t, s.board, "/")
		synctest.Wait()
		wantWords(t, words(t, s.board, pageOf), "which answers")
	})
}
