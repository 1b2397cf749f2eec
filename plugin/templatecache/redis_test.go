package templatecache_test

import (
	"context"
	"fmt"
	html "html/template"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/plugin/templatecache"
)

// branch is what one process of a shop has: regions over a Redis with a client of their own, and
// a page with a list of one card, which loads a price.
type branch struct {
	regions []*dogpile.Region
	page    *html.Template
}

func openBranch(t *testing.T, url string, price, made *atomic.Int64) branch {
	t.Helper()
	backend, err := redis.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { backend.Close() })
	b := branch{}
	for _, name := range []string{"pages", "cards", "prices"} {
		r := dogpile.NewRegion(name)
		if err := r.Configure(backend, &dogpile.Options{Strict: true}); err != nil {
			t.Fatal(err)
		}
		b.regions = append(b.regions, r)
	}
	priceOf := dogpile.NewFunc(b.regions[2], "price", func(ctx context.Context, id int) (int64, error) {
		dogpile.Creation(ctx).Tag(ctx, fmt.Sprint("product:", id))
		return price.Load(), nil
	}, nil)
	card := func(id int) loader {
		return loader{fmt.Sprint(id), func(ctx context.Context) (any, error) { made.Add(1); return priceOf.Call(ctx, id) }}
	}
	b.page = html.Must(html.New("page").Funcs(templatecache.FuncMap()).Funcs(html.FuncMap{"card": card}).Parse(
		`{{cached . "pages" "list" 1 (cacheTags "all")}}{{define "list"}}{{cached nil "cards" "card" (card 42)}}{{end}}{{define "card"}}<b>{{.}}</b>{{end}}`))
	bindHTML(t, b.page, b.regions[:2]...)
	return b
}

// Two processes make one fragment between them, and after an invalidation through either, neither
// shows what was made before, though pages are made all the time.
func TestProcessesShareFragments(t *testing.T) {
	t.Parallel()
	url := backendtest.Redis(t)
	var price, made atomic.Int64
	branches := []branch{openBranch(t, url, &price, &made), openBranch(t, url, &price, &made)}
	var visitors sync.WaitGroup
	for i := range 40 {
		visitors.Go(func() {
			if got := render(t, branches[i%2].page, t.Context()); got != "<b>0</b>" {
				t.Errorf("the page is %q", got)
			}
		})
	}
	visitors.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("%d cards were made, want 1", n)
	}
	over := make(chan struct{})
	for i := range 4 {
		visitors.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					render(t, branches[i%2].page, context.Background())
				}
			}
		})
	}
	for i := range 30 {
		want := fmt.Sprintf("<b>%d</b>", price.Add(1))
		if err := branches[i%2].regions[i/2%3].InvalidateTags(t.Context(), dogpile.Hard, "product:42"); err != nil {
			t.Error(err)
		}
		for _, b := range branches {
			if got := render(t, b.page, t.Context()); got != want {
				t.Errorf("after change %d the page is %q, want %q", i, got, want)
			}
		}
	}
	close(over)
	visitors.Wait()
}
