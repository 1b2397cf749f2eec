package templatecache_test

import (
	"context"
	"errors"
	"fmt"
	html "html/template"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/templatecache"
)

// newRegions returns regions that share their tags.
func newRegions(t *testing.T, names ...string) []*dogpile.Region {
	t.Helper()
	backend := newBackend(t)
	regions := make([]*dogpile.Region, len(names))
	for i, name := range names {
		regions[i] = dogpile.NewRegion(name)
		if err := regions[i].Configure(backend, nil); err != nil {
			t.Fatal(err)
		}
	}
	return regions
}

// stock is a page of cards of products, all of them cached.
type stock struct {
	bound
	t       *testing.T
	regions []*dogpile.Region
	price   map[int]int
	product *dogpile.Func[int, int]
	loaded  func() // after a card has loaded its product
}

const stockPage = `{{cached ctx "pages" "list" .}}` +
	`{{define "list"}}[{{range .}}{{cached nil "cards" "card" (card .)}}{{end}}]{{end}}{{define "card"}}({{.}}){{end}}`

func newStock(t *testing.T, bind bindFunc) *stock {
	s := &stock{t: t, regions: newRegions(t, "pages", "cards", "products"), price: map[int]int{41: 1, 42: 2}, loaded: func() {}}
	s.product = dogpile.NewFunc(s.regions[2], "product", func(ctx context.Context, id int) (int, error) {
		dogpile.Creation(ctx).Tag(ctx, fmt.Sprint("product:", id))
		return s.price[id], nil
	}, nil)
	card := func(id int) loader {
		return loader{fmt.Sprint(id), func(ctx context.Context) (any, error) {
			price, err := s.product.Call(ctx, id)
			s.loaded()
			return price, err
		}}
	}
	s.bound = mustBind(t, bind, stockPage, map[string]any{"card": card}, s.regions[:2]...)
	return s
}

func (s *stock) invalidate(mode dogpile.Mode, tags ...string) {
	s.t.Helper()
	if err := s.regions[0].InvalidateTags(context.Background(), mode, tags...); err != nil {
		s.t.Error(err)
	}
}

func (s *stock) want(page string) {
	s.t.Helper()
	if got := s.render(s.t, "page", []int{41, 42}); got != page {
		s.t.Errorf("the page is %q, want %q", got, page)
	}
}

// A page is made of cards, and a card of a product: the product's tag reaches them all, and
// no other card.
func TestTagsReachWhatIsMadeOfAProduct(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		s := newStock(t, bind)
		s.want("[(1)(2)]")
		s.price[41], s.price[42] = 8, 9
		s.want("[(1)(2)]")
		s.invalidate(dogpile.Hard, "product:42")
		s.want("[(1)(9)]")
		if got := s.regions[1].Stats().Creations; got != 3 {
			t.Errorf("%d cards were made, want 3", got)
		}
		s.invalidate(dogpile.Soft, "product:41")
		s.want("[(8)(9)]") // this caller creates
	})
}

// A card that is made of an old product is invalid from the beginning:
//
//  1. The card loads the product, at its old price and with its tag as it was then.
//  2. The price changes, and the tag is invalidated.
//  3. The card is executed and stored, and so is the page around it.
//  4. The next page finds neither of them valid.
func TestFragmentOfAnOldProductIsBornInvalid(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		s := newStock(t, bind)
		changed := false
		s.loaded = func() {
			if !changed {
				changed = true // 1 has happened
				s.price[41] = 8
				s.invalidate(dogpile.Hard, "product:41") // 2
			}
		}
		s.want("[(1)(2)]") // 3: begun before the change
		s.want("[(8)(2)]") // 4
		s.want("[(8)(2)]")
		if got := s.regions[0].Stats().Creations; got != 2 {
			t.Errorf("%d pages were made, want 2", got)
		}
	})
}

// Tags of the template are read before the fragment is executed: what is invalidated while
// it is executed is not valid afterwards.
func TestTagsAreReadBeforeTheFragmentIsExecuted(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		cards := newRegion(t, "cards", nil)
		n := 0
		during := func() (int, error) {
			if n++; n == 1 {
				return n, cards.InvalidateTags(context.Background(), dogpile.Hard, "menu")
			}
			return n, nil
		}
		b := mustBind(t, bind, `{{cached ctx "cards" "card" . (cacheTags "menu" .)}}{{define "card"}}{{during}}{{end}}`,
			map[string]any{"during": during}, cards)
		for _, want := range []string{"1", "2", "2"} {
			if got := b.render(t, "page", "x"); got != want {
				t.Errorf("the page is %q, want %q", got, want)
			}
		}
		if err := cards.InvalidateTags(context.Background(), dogpile.Hard, "x"); err != nil { // a computed one
			t.Error(err)
		}
		if got := b.render(t, "page", "x"); got != "3" {
			t.Errorf("the page is %q, want 3", got)
		}
	})
}

type mark struct{} // the key of a value in a context

// Whatever context the data of a fragment has, cached uses that of the creation there, but for
// one that is made of it.
func TestNestedFragmentsUseTheContextOfTheCreation(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		for name, data := range map[string]any{
			"that of the request": loader{"x", func(context.Context) (any, error) {
				return map[string]any{"Ctx": context.Background()}, nil
			}},
			"that of the creation": loader{"x", func(ctx context.Context) (any, error) {
				return map[string]any{"Ctx": context.WithValue(ctx, mark{}, "y"), "Made": true}, nil
			}},
			"none": loader{"x", func(context.Context) (any, error) { return map[string]any{}, nil }},
		} {
			regions := newRegions(t, "pages", "cards")
			n := 0
			inner := loader{"y", func(ctx context.Context) (any, error) {
				n++
				if got, want := ctx.Value(mark{}) != nil, name == "that of the creation"; got != want {
					t.Errorf("%s: the value in the context is there: %t", name, got)
				}
				dogpile.Creation(ctx).Tag(ctx, "inner")
				return n, nil
			}}
			b := mustBind(t, bind, `{{cached ctx "pages" "outer" .}}{{define "outer"}}{{cached .Ctx "cards" "inner" inner}}{{end}}{{define "inner"}}{{.}}{{end}}`,
				map[string]any{"inner": func() loader { return inner }}, regions...)
			if got := b.render(t, "page", data); got != "1" {
				t.Errorf("%s: the page is %q", name, got)
			}
			if err := regions[0].InvalidateTags(context.Background(), dogpile.Hard, "inner"); err != nil {
				t.Error(err)
			}
			if got := b.render(t, "page", data); got != "2" {
				t.Errorf("%s: the page is %q after the invalidation of what it is made of", name, got)
			}
		}
	})
}

// A fragment that is made of itself is an error, not a deadlock; one that is made of itself with
// other data ends.
func TestTemplatesThatCacheThemselves(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		cards := newRegion(t, "cards", nil)
		b := mustBind(t, bind, `{{define "same"}}{{cached ctx "cards" "same" .}}{{end}}`+
			`{{define "less"}}{{.}}{{if .}} {{cached ctx "cards" "less" (less .)}}{{end}}{{end}}`+
			`{{define "more"}}{{cached ctx "cards" "more" (more .)}}{{end}}`,
			map[string]any{"less": func(i int) int { return i - 1 }, "more": func(i int) int { return i + 1 }}, cards)
		if err := b.execute(io.Discard, "same", 1); !errors.Is(err, dogpile.ErrRecursive) {
			t.Errorf("a fragment of itself: %v", err)
		}
		if got := b.render(t, "less", 5); got != "5 4 3 2 1 0" {
			t.Errorf("wrote %q", got)
		}
		if err := b.execute(io.Discard, "more", 1); err == nil || !strings.Contains(err.Error(), "deep") {
			t.Errorf("a fragment without end: %.1000s", err)
		}
	})
}

// A timeout counts in place of the region's, and one that has changed counts at once.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		synctest.Test(t, func(t *testing.T) {
			var made counter
			cards := newRegion(t, "cards", &dogpile.Options{Expiration: time.Hour})
			page := func(options string) bound {
				return mustBind(t, bind, `{{cached ctx "cards" "card" 1 `+options+`}}{{define "card"}}{{count .}}{{end}}`, made.functions(), cards)
			}
			day, minute, never, none := page(`(cacheTimeout "1d")`), page(`(cacheTimeout "1m")`), page(`(cacheTimeout "never")`), page(``)
			computed := page(`(cacheTimeout .)`)
			for _, step := range []struct {
				what  string
				after time.Duration
				page  bound
				made  int64
			}{
				{"the first", 0, day, 1},
				{"within a day", 23 * time.Hour, day, 1},
				{"never", 0, never, 1},
				{"longer than the region's", 0, none, 2},
				{"within a minute", 59 * time.Second, minute, 2},
				{"a computed one that is not over", 0, computed, 2},
				{"longer than a minute", 2 * time.Second, minute, 3},
			} {
				time.Sleep(step.after)
				if step.page.render(t, "page", "1h"); made.n.Load() != step.made {
					t.Errorf("%s: %d creations, want %d", step.what, made.n.Load(), step.made)
				}
			}
			for _, bad := range []string{"", "x", "0", "-5m", "5 minutes"} {
				if err := computed.execute(io.Discard, "page", bad); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("cacheTimeout %q", bad)) {
					t.Errorf("timeout %q: %v", bad, err)
				}
			}
		})
	})
}

// The error of a fragment goes to the page, names the region, the template and the cause, and
// nothing is stored.
func TestErrorsOfFragments(t *testing.T) {
	t.Parallel()
	cause := errors.New("no product")
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		var failure error
		fail := func() (string, error) { return "tea", failure }
		cards := newRegion(t, "cards", nil)
		b := mustBind(t, bind, `before {{cached ctx "cards" "card" .}}{{define "card"}}half of it {{fail}}{{index .X 3}}{{end}}`+
			`{{define "outer"}}{{cached ctx "cards" "inner" .}}{{end}}{{define "inner"}}{{cached nil "cards" "deepest" .}}{{end}}{{define "deepest"}}{{fail}}{{end}}`,
			map[string]any{"fail": fail}, cards)
		type data struct{ X []int }
		failure = cause
		for _, name := range []string{"page", "outer"} {
			err := b.execute(io.Discard, name, data{[]int{1, 2, 3, 4}})
			if !errors.Is(err, cause) || !strings.Contains(err.Error(), `templatecache: region "cards", template "`) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := b.execute(io.Discard, "page", loader{"x", func(context.Context) (any, error) { return nil, cause }}); !errors.Is(err, cause) {
			t.Errorf("the error of Load: %v", err)
		}
		failure = nil
		if err := b.execute(io.Discard, "page", data{[]int{1}}); err == nil || !strings.Contains(err.Error(), "index") {
			t.Errorf("an index that is too large: %v", err)
		}
		if err := b.execute(io.Discard, "page", loader{"x", func(context.Context) (any, error) { panic("oh") }}); err == nil || !strings.Contains(err.Error(), "oh") {
			t.Errorf("a panic: %v", err)
		}
		if got := cards.Stats().Stores; got != 0 {
			t.Errorf("%d fragments were stored", got)
		}
		if got := b.render(t, "page", data{[]int{1, 2, 3, 4}}); got != "before half of it tea4" {
			t.Errorf("after all that, the page is %q", got)
		}
	})
}

// A region may be configured after the templates are bound; until then there is an error.
func TestRegionIsConfiguredLater(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		cards := dogpile.NewRegion("cards")
		b := mustBind(t, bind, `{{cached ctx "cards" "card" .}}{{define "card"}}{{.}}{{end}}`, nil, cards)
		if err := b.execute(io.Discard, "page", 1); !errors.Is(err, dogpile.ErrNotConfigured) {
			t.Errorf("before: %v", err)
		}
		if err := cards.Configure(newBackend(t), nil); err != nil {
			t.Fatal(err)
		}
		if got := b.render(t, "page", 1); got != "1" {
			t.Errorf("after: %q", got)
		}
	})
}

// Bypass makes the page without the cache: the counterpart of Mako's cache_enabled.
func TestBypass(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		var made counter
		functions := made.functions()
		functions["bypass"] = func() context.Context { return dogpile.Bypass(context.Background()) }
		b := mustBind(t, bind, `{{cached bypass "cards" "card" .}}{{define "card"}}{{count .}}{{cached nil "cards" "inner" .}}{{end}}{{define "inner"}}{{count .}}{{end}}`,
			functions, newRegion(t, "cards", nil))
		for range 3 {
			b.render(t, "page", "x")
		}
		if made.n.Load() != 6 {
			t.Errorf("%d executions, want 6", made.n.Load())
		}
	})
}

// A stale fragment is renewed in the background, after the page is done.
func TestFragmentsAreRenewedInTheBackground(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		synctest.Test(t, func(t *testing.T) {
			cards := newRegion(t, "cards", &dogpile.Options{Expiration: time.Minute, Runner: dogpile.Background})
			n := 0
			b := mustBind(t, bind, `{{cached ctx "cards" "card" .}}{{define "card"}}{{next}}{{cached nil "cards" "inner" .}}{{end}}{{define "inner"}}{{.}}{{end}}`,
				map[string]any{"next": func() int { n++; return n }}, cards)
			for i, want := range []string{"1x", "1x", "2x"} {
				if got := b.render(t, "page", "x"); got != want {
					t.Errorf("page %d is %q, want %q", i, got, want)
				}
				if i == 0 {
					time.Sleep(61 * time.Second)
				}
				synctest.Wait()
			}
		})
	})
}

// Two regions, or two sets of templates, may share a backend; and a clone is bound for itself.
func TestClones(t *testing.T) {
	t.Parallel()
	original := parseHTML(t, `{{cached ctx "cards" "card" .}}{{define "card"}}a{{.}}{{end}}`)
	clone := html.Must(html.Must(original.Clone()).Parse(`{{define "card"}}b{{.}}{{end}}`))
	cards := newRegion(t, "cards", nil)
	bindHTML(t, original, cards)
	bindHTML(t, clone, cards)
	for range 2 {
		if a, b := render(t, original, 1), render(t, clone, 1); a != "a1" || b != "b1" {
			t.Errorf("the pages are %q and %q", a, b)
		}
	}
	if _, err := templatecache.BindHTML(original, &templatecache.Options{Regions: []*dogpile.Region{cards}}); err == nil || !strings.HasPrefix(err.Error(), "templatecache: ") {
		t.Errorf("binding templates that have been executed: %v", err)
	}
}
