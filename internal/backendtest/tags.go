//go:build unix

package backendtest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// wantTagged fails the test unless c has an entry in that state, with tags.
func wantTagged(t testing.TB, c *dogpile.Cache[string], key string, state dogpile.State, tags ...string) {
	t.Helper()
	e, found, err := c.Peek(t.Context(), key)
	if err != nil || !found || e.State != state || !slices.Equal(e.Tags, tags) {
		t.Errorf("%s: found %v, %+v, %v; want %v, %q", key, found, e, err, state, tags)
	}
}

// tagsReachOthers checks that tags that are known beforehand and those that a creator tells
// of are invalidated in other processes, many at once, and that odd ones are kept apart.
func tagsReachOthers(t *testing.T, open func(testing.TB) driver.Backend) {
	a, b := twoTagged(t, open, nil)
	odd := []string{"", "a b", "a|b", "\x00\xff", "é", string(make([]byte, 300)), string(make([]byte, 301))}
	for i, tag := range odd {
		key := fmt.Sprint("odd", i)
		_, err := a.cache.GetOrCreate(t.Context(), key, func(ctx context.Context) (string, error) {
			dogpile.Creation(ctx).Tag(ctx, b.tag(tag), b.tag("all"))
			return "v", nil
		})
		OK(t, err)
		OK(t, a.cache.With(b.known(tag, "all")).Set(t.Context(), "known "+key, "v"))
	}
	state := func(mode dogpile.Mode, tags ...string) func(i int, want dogpile.State) {
		OK(t, b.region.InvalidateTags(t.Context(), mode, tags...))
		return func(i int, want dogpile.State) {
			t.Helper()
			for _, c := range []*dogpile.Cache[string]{a.cache, b.cache, b.cache.With(b.known(odd[i], "all"))} {
				wantTagged(t, c, fmt.Sprint("odd", i), want, b.tag(odd[i]), b.tag("all"))
				wantTagged(t, c, fmt.Sprint("known odd", i), want, b.tag(odd[i]), b.tag("all"))
			}
		}
	}
	is := state(dogpile.Soft, b.tag(odd[0]), b.tag(odd[3]), b.tag(odd[5]))
	for i := range odd {
		want := dogpile.Fresh
		if i == 0 || i == 3 || i == 5 {
			want = dogpile.Stale
		}
		is(i, want)
	}
	is = state(dogpile.Hard, b.tag(odd[1]))
	is(1, dogpile.Invalidated)
	is(2, dogpile.Fresh)
	is(3, dogpile.Stale)
	is = state(dogpile.Hard, b.tag("all"))
	for i := range odd {
		is(i, dogpile.Invalidated)
	}
}

// process is a region with a cache, over a backend of its own. All tags of a test begin
// with space: others use the same server.
type process struct {
	region *dogpile.Region
	cache  *dogpile.Cache[string]
	space  string
}

func (p process) tag(tag string) string { return p.space + tag }

func (p process) known(tags ...string) dogpile.CacheOptions[string] {
	var own []string
	for _, tag := range tags {
		own = append(own, p.tag(tag))
	}
	return dogpile.CacheOptions[string]{Tags: func(string) []string { return slices.Clone(own) }}
}

func twoTagged(t testing.TB, open func(testing.TB) driver.Backend, o *dogpile.Options) (a, b process) {
	name := Unique(t)
	for _, p := range []*process{&a, &b} {
		p.region = Region(t, name, open(t), o)
		p.cache, p.space = dogpile.NewCache[string](p.region, nil), name
	}
	return a, b
}

// tagOfACreation checks that what a creation reads before its tag is invalidated elsewhere
// reaches nobody who calls after that.
//
//  1. A's creator tags its value, and begins to read the origin.
//  2. B invalidates the tag.  3. C calls, in A's process: it joins A.  4. A's creator ends.
func tagOfACreation(t *testing.T, open func(testing.TB) driver.Backend) {
	for _, known := range []bool{false, true} {
		for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft} {
			a, b := twoTagged(t, open, nil)
			cache := a.cache
			if known {
				cache = cache.With(a.known("t"))
			}
			began, gate := make(chan struct{}), make(chan struct{})
			create := func(v string, wait func()) func(ctx context.Context) (string, error) {
				return func(ctx context.Context) (string, error) {
					if !known {
						dogpile.Creation(ctx).Tag(ctx, a.tag("t"))
					}
					wait()
					return v, nil
				}
			}
			first, late := make(chan string, 1), make(chan string, 1)
			get := func(got chan<- string, create func(context.Context) (string, error)) {
				v, err := cache.GetOrCreate(t.Context(), "k", create)
				if err != nil {
					t.Errorf("GetOrCreate = %v", err)
				}
				got <- v
			}
			go get(first, create("old", func() { close(began); <-gate }))
			<-began
			OK(t, b.region.InvalidateTags(t.Context(), mode, b.tag("t")))
			go get(late, create("new", func() {}))
			Pause(20 * time.Millisecond) // most often it has joined by then
			close(gate)
			if v := <-first; v != "old" {
				t.Errorf("known %v, %v: the first caller got %q", known, mode, v)
			}
			if v := <-late; v != "new" && mode == dogpile.Hard {
				t.Errorf("known %v, %v: the late caller got %q", known, mode, v)
			}
			if v, ok, err := b.cache.Get(t.Context(), "k"); ok && v != "new" || err != nil {
				t.Errorf("known %v, %v: B reads %q, %v, %v", known, mode, v, ok, err)
			}
		}
	}
}

// tagsAreInherited checks that a page that is made of a card that is made of a product goes
// with the product's tag, where each of them has a region over a backend of its own.
func tagsAreInherited(t *testing.T, open func(testing.TB) driver.Backend) {
	products, cards := twoTagged(t, open, nil)
	pages, shop := twoTagged(t, open, nil)
	price := "1"
	product := func(ctx context.Context) (string, error) {
		dogpile.Creation(ctx).Tag(ctx, products.tag("42"))
		return price, nil
	}
	card := func(ctx context.Context) (string, error) {
		v, err := products.cache.GetOrCreate(ctx, "42", product)
		return "card " + v, err
	}
	page := func(ctx context.Context) (string, error) {
		v, err := cards.cache.GetOrCreate(ctx, "card 42", card)
		return "page of " + v, err
	}
	show := func(want string) {
		t.Helper()
		v, err := pages.cache.GetOrCreate(t.Context(), "page 42", page)
		if v != want || err != nil {
			t.Errorf("the page is %q, %v; want %q", v, err, want)
		}
		wantTagged(t, shop.cache, "page 42", dogpile.Fresh, products.tag("42"))
	}
	show("page of card 1")
	price = "2"
	show("page of card 1")
	OK(t, shop.region.InvalidateTags(t.Context(), dogpile.Hard, products.tag("42")))
	show("page of card 2")
	OK(t, shop.cache.Delete(t.Context(), "page 42")) // which is made anew of a card that is cached
	show("page of card 2")
	price = "3"
	OK(t, shop.region.InvalidateTags(t.Context(), dogpile.Soft, products.tag("42")))
	wantTagged(t, shop.cache, "page 42", dogpile.Stale, products.tag("42"))
	show("page of card 3")
}

// tokensGo checks that tokens last as long as the entries that carry them, and go then.
func tokensGo(t *testing.T, open func(testing.TB) driver.Backend) {
	const life = 2 * time.Second
	a, b := twoTagged(t, open, &dogpile.Options{Expiration: life / 2, StaleFor: life / 2})
	cache, backend := a.cache.With(a.known("t")), a.region.Backend()
	tokens := func() (n int) {
		items := []driver.Item{{Key: "_tag::" + a.tag("t")}, {Key: "_tag:~" + a.tag("t")}}
		OK(t, backend.Get(t.Context(), items))
		for i := range items {
			OK(t, items[i].Err)
			if items[i].Found() {
				n++
			}
		}
		return n
	}
	for began := time.Now(); time.Since(began) < 3*life; Pause(life / 10) {
		set := time.Now()
		OK(t, cache.Set(t.Context(), "k", "v"))
		n := tokens()
		e, ok, err := b.cache.Peek(t.Context(), "k")
		OK(t, err)
		// A machine may be so busy that the entry is over by now, and the tokens with it.
		if time.Since(set) < life && (n != 2 || !ok || e.State == dogpile.Invalidated) {
			t.Fatalf("there are %d tokens, and the entry is %+v, %v", n, e, ok)
		}
	}
	Eventually(t, "the tokens to go", func() bool { return tokens() == 0 })
}
