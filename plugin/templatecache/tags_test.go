package templatecache_test

import (
	"context"
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/templatecache"
)

// An invalidation reaches the fragment on a page whose call of cached names the tag, though a
// call that does not has made it: that of another page, or of the version before.
func TestTagsReachFragmentsThatOthersHaveMade(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		for name, first := range map[string]string{"none": ``, "another": `(cacheTags "x")`, "one of two": `(cacheTags "y")`, "an empty list": `(cacheTags)`} {
			n := 0
			cards := newRegion(t, "cards", nil)
			b := mustBind(t, bind, `{{cached ctx "cards" "card" 1 `+first+`}}{{define "later"}}{{cached ctx "cards" "card" 1 (cacheTags "menu" "y")}}{{end}}{{define "card"}}{{next}}{{end}}`,
				map[string]any{"next": func() int { n++; return n }}, cards)
			b.render(t, "page", nil)
			before := b.render(t, "later", nil)
			if again := b.render(t, "later", nil); again != before {
				t.Errorf("%s: %q and then %q: it is not cached", name, before, again)
			}
			if err := cards.InvalidateTags(context.Background(), dogpile.Hard, "menu"); err != nil {
				t.Error(err)
			}
			if after := b.render(t, "later", nil); after == before {
				t.Errorf("%s: the invalidation of the tag did not reach %q", name, before)
			}
		}
	})
}

// The same tags in another order are the same.
func TestOrderOfTagsDoesNotCount(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		n := 0
		cards := newRegion(t, "cards", nil)
		b := mustBind(t, bind, `{{cached ctx "cards" "card" 1 (cacheTags "b" "a" "b")}}{{cached ctx "cards" "card" 1 (cacheTags "a" "b")}}{{define "card"}}{{next}}{{end}}`,
			map[string]any{"next": func() int { n++; return n }}, cards)
		if got := b.render(t, "page", nil); got != "11" {
			t.Errorf("the page is %q", got)
		}
		key, err := b.Key("card", 1)
		if err != nil {
			t.Error(err)
		}
		if got, ok, err := templatecache.View(cards, "a", "b").Get(context.Background(), key); got != "1" || !ok || err != nil {
			t.Errorf("View: %q, %t, %v", got, ok, err)
		}
		if _, ok, err := templatecache.View(cards, "a").Get(context.Background(), key); ok || err != nil {
			t.Errorf("the View of other tags: %t, %v", ok, err)
		}
	})
}
