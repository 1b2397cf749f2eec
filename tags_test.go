package dogpile_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// tagged returns a creator of values that tags them first.
func tagged[V any](c *creator[V], tags ...string) func(context.Context) (V, error) {
	return func(ctx context.Context) (V, error) {
		dogpile.Creation(ctx).Tag(ctx, tags...)
		return c.create(ctx)
	}
}

// byKey are the tags of the entries of tests: that of key k is "t:k".
func byKey(key string) []string { return []string{"t:" + key} }

// wantTags checks what an entry is worth.
func wantTags[V any](t *testing.T, what string, c *dogpile.Cache[V], key string, want dogpile.State, tags ...string) {
	t.Helper()
	e, ok, err := c.Peek(bg, key)
	if !ok || err != nil || e.State != want || !slices.Equal(e.Tags, tags) {
		t.Errorf("%s: Peek = %v %v, %v, %v; want %v %v", what, e.State, e.Tags, ok, err, want, tags)
	}
}

// tagKinds are the ways of telling of tags.
var tagKinds = map[string]func(c *dogpile.Cache[int], n *creator[int]) (*dogpile.Cache[int], func(context.Context) (int, error)){
	"told": func(c *dogpile.Cache[int], n *creator[int]) (*dogpile.Cache[int], func(context.Context) (int, error)) {
		return c, tagged(n, "t:k")
	},
	"known": func(c *dogpile.Cache[int], n *creator[int]) (*dogpile.Cache[int], func(context.Context) (int, error)) {
		return c.With(dogpile.CacheOptions[int]{Tags: byKey}), n.create
	},
}

// TestInvalidateTags: in the process that invalidates and in another one.
func TestInvalidateTags(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) driver.Backend{
		"memory":   kinds["memory"],
		"objects":  kinds["objects"],
		"bytes":    kinds["bytes"],
		"shared":   func(t *testing.T) driver.Backend { return newFake(t, like{}) },
		"lockless": func(t *testing.T) driver.Backend { return newFake(t, like{bytes: true, lockless: true}) },
	} {
		for kind, make := range tagKinds {
			t.Run(name+" "+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					o := &dogpile.Options{Expiration: time.Hour, Runner: dogpile.Background}
					regions, caches := processes[int](t, 2, open(t), o)
					n := counting(0)
					c, create := make(caches[0], n)
					other, _ := make(caches[1], n)
					v, err := c.GetOrCreate(bg, "k", create)
					wantValue(t, "created", v, err, 1)
					v, err = other.GetOrCreate(bg, "k", create)
					wantValue(t, "a hit elsewhere", v, err, 1)
					wantTags(t, "fresh", other, "k", dogpile.Fresh, "t:k")

					wantErr(t, "another tag", regions[0].InvalidateTags(bg, dogpile.Hard, "t:other", ""), nil)
					wantTags(t, "another tag", c, "k", dogpile.Fresh, "t:k")

					wantErr(t, "soft", regions[1].InvalidateTags(bg, dogpile.Soft, "t:other", "t:k"), nil)
					wantTags(t, "softly invalidated", c, "k", dogpile.Stale, "t:k")
					v, err = other.GetOrCreate(bg, "k", create)
					wantValue(t, "stale while another renews", v, err, 1)
					synctest.Wait()
					v, err = c.GetOrCreate(bg, "k", create)
					wantValue(t, "renewed", v, err, 2)

					wantErr(t, "hard", regions[0].InvalidateTags(bg, dogpile.Hard, "t:k"), nil)
					wantTags(t, "invalidated", other, "k", dogpile.Invalidated, "t:k")
					if v, ok, err := other.Get(bg, "k"); ok || err != nil {
						t.Errorf("Get = %v, %v, %v", v, ok, err)
					}
					v, err = other.GetOrCreate(bg, "k", create)
					wantValue(t, "created anew", v, err, 3)
					wantTags(t, "created anew", c, "k", dogpile.Fresh, "t:k")
					wantCalls(t, n, 3)
				})
			})
		}
	}
}

// TestTagsOfInvalidatedFlight: A's creator has read its origin; the tag is invalidated;
// nobody who comes later gets what A makes, and those who came before do.
//
//  1. A tags its value and reads the origin, which says 1.  2. The origin changes.
//  3. The tag is invalidated.  4. B and C call, in A's process and in another.
//  5. A's creator returns.
func TestTagOfAFlightIsInvalidated(t *testing.T) {
	for kind, make := range tagKinds {
		for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft} {
			t.Run(kind+" "+mode.String(), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					regions, caches := processes[int](t, 2, newFake(t, like{}), &dogpile.Options{Expiration: time.Hour})
					n := counting(time.Minute)
					n.takes = time.Second
					c, create := make(caches[0], n)
					other, _ := make(caches[1], n)
					early := crowd(3, get(c, "k", create))
					wantErr(t, "InvalidateTags", regions[1].InvalidateTags(bg, mode, "t:k"), nil)
					late := crowd(3, get(c, "k", create))
					elsewhere := start(get(other, "k", create))
					r := <-early[0]
					wantValue(t, "whose flight it was", r.v, r.err, 1)
					for _, call := range early[1:] { // when they came the creator ran already
						if r := <-call; r.v != 1 && r.v != 2 || r.err != nil {
							t.Errorf("who came before: %v, %v", r.v, r.err)
						}
					}
					for _, call := range append(late, elsewhere) {
						r := <-call
						if stale := mode == dogpile.Soft && r.v == 1; !stale || r.err != nil {
							wantValue(t, "who came later", r.v, r.err, 2)
						}
					}
					wantTags(t, "afterwards", c, "k", dogpile.Fresh, "t:k")
					v, err := c.GetOrCreate(bg, "k", create)
					wantValue(t, "afterwards", v, err, 2)
					wantCalls(t, n, 2)
				})
			})
		}
	}
}

// shop is a product, a fragment that is made of it, and a page that is made of the
// fragment. Only the product is tagged.
type shop struct {
	mu                       sync.Mutex
	price                    int
	products, cards, pages   *dogpile.Cache[string]
	product, card, page      func(context.Context) (string, error)
	readProduct, productRead func() // called in the product's creator, before and after it reads
}

func newShop(t *testing.T, b driver.Backend, o *dogpile.Options) *shop {
	s := &shop{price: 1}
	region := func(name string) *dogpile.Cache[string] {
		own := *o
		own.Prefix = name + ":"
		return dogpile.NewCache[string](newRegion(t, b, &own), nil)
	}
	s.products, s.cards, s.pages = region("products"), region("cards"), region("pages")
	s.product = func(ctx context.Context) (string, error) {
		dogpile.Creation(ctx).Tag(ctx, "product:42")
		if s.readProduct != nil {
			s.readProduct()
		}
		s.mu.Lock()
		price := s.price
		s.mu.Unlock()
		if s.productRead != nil {
			s.productRead()
		}
		return fmt.Sprint(price), nil
	}
	s.card = func(ctx context.Context) (string, error) {
		p, err := s.products.GetOrCreate(ctx, "42", s.product)
		return "card(" + p + ")", err
	}
	s.page = func(ctx context.Context) (string, error) {
		c, err := s.cards.GetOrCreate(ctx, "42", s.card)
		return "page(" + c + ")", err
	}
	return s
}

func (s *shop) set(price int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.price = price
}

func (s *shop) show(t *testing.T, what, want string) {
	t.Helper()
	v, err := s.pages.GetOrCreate(bg, "42", s.page)
	wantValue(t, what, v, err, want)
}

// TestTagsAreInherited: the page is made of a card, which is made of a product.
func TestTagsAreInherited(t *testing.T) {
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := open(t)
				s := newShop(t, b, &dogpile.Options{Expiration: time.Hour})
				r := newRegion(t, b, nil) // one that has none of the entries
				s.show(t, "created", "page(card(1))")
				wantTags(t, "the page", s.pages, "42", dogpile.Fresh, "product:42")
				s.set(2)
				s.show(t, "cached", "page(card(1))")
				wantErr(t, "InvalidateTags", r.InvalidateTags(bg, dogpile.Hard, "product:42"), nil)
				s.show(t, "after a hard invalidation", "page(card(2))")

				// The page alone goes: what it is made of anew are hits.
				wantErr(t, "Delete", s.pages.Delete(bg, "42"), nil)
				s.show(t, "of a cached card", "page(card(2))")
				wantTags(t, "the page", s.pages, "42", dogpile.Fresh, "product:42")
				s.set(3)
				wantErr(t, "InvalidateTags", r.InvalidateTags(bg, dogpile.Soft, "product:42"), nil)
				wantTags(t, "the page", s.pages, "42", dogpile.Stale, "product:42")
				s.show(t, "after a soft invalidation", "page(card(3))")
				wantTags(t, "the page", s.pages, "42", dogpile.Fresh, "product:42")
			})
		})
	}
}

// TestBornInvalid:
//
//  1. The product is cached: it says 1.  2. A's card reads it.
//  3. The product changes, and its tag is invalidated.  4. B makes the product anew: 2.
//  5. A's card is stored, and after it the page that waits for it. Both carry the tag as it
//     was at 2: nobody gets them any more.
func TestBornInvalid(t *testing.T) {
	for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft} {
		t.Run(mode.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{bytes: true})
				o := &dogpile.Options{Expiration: time.Hour}
				s, other := newShop(t, b, o), newShop(t, b, o)
				_, err := s.products.GetOrCreate(bg, "42", s.product) // 1
				wantErr(t, "the product", err, nil)
				read, resume := make(chan struct{}), make(chan struct{})
				card := s.card
				s.card = func(ctx context.Context) (string, error) {
					v, err := card(ctx) // 2
					close(read)
					<-resume
					return v, err
				}
				a := start(func() (string, error) { return s.pages.GetOrCreate(bg, "42", s.page) })
				<-read
				s.set(2)
				other.set(2)
				wantErr(t, "InvalidateTags", newRegion(t, b, nil).InvalidateTags(bg, mode, "product:42"), nil) // 3
				v, err := other.products.GetOrCreate(bg, "42", other.product)                                  // 4
				wantValue(t, "the product", v, err, "2")
				close(resume)
				r := <-a // 5
				wantValue(t, "A, who came before", r.v, r.err, "page(card(1))")
				s.card = card
				want := dogpile.Invalidated
				if mode == dogpile.Soft {
					want = dogpile.Stale
				}
				wantTags(t, "the card", other.cards, "42", want, "product:42")
				wantTags(t, "the page", other.pages, "42", want, "product:42")
				s.show(t, "who comes later", "page(card(2))")
			})
		})
	}
}

// TestStaleValueMakesNothingFresh: a page that is made of a stale product is stale.
func TestStaleValueMakesNothingFresh(t *testing.T) {
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := open(t)
				products := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Expiration: time.Minute, StaleFor: time.Hour, Runner: dogpile.Background, Prefix: "p:"}), nil)
				pages := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Expiration: time.Hour, Prefix: "q:"}), nil)
				n := counting(10 * time.Second)
				page := func(ctx context.Context) (int, error) {
					v, err := products.GetOrCreate(ctx, "42", n.create)
					return 10 * v, err
				}
				v, err := products.GetOrCreate(bg, "42", n.create)
				wantValue(t, "the product", v, err, 1)
				pass(2 * time.Minute)
				e, err := pages.GetOrCreateEntry(bg, "42", page)
				if e.Value != 10 || err != nil || e.State != dogpile.Stale || e.From != dogpile.Created {
					t.Errorf("the page of a stale product = %+v, %v", e, err)
				}
				wantTags(t, "the page of a stale product", pages, "42", dogpile.Stale)
				if v, ok, err := pages.Get(bg, "42"); ok || err != nil {
					t.Errorf("Get = %v, %v, %v", v, ok, err)
				}
				later(time.Minute)
				v, err = pages.GetOrCreate(bg, "42", page)
				wantValue(t, "the page of the renewed product", v, err, 20)
				wantTags(t, "the page of the renewed product", pages, "42", dogpile.Fresh)
			})
		})
	}
}

// TestOddTags: any string is a tag, and no two are one.
func TestOddTags(t *testing.T) {
	t.Parallel()
	odd := []string{"", " ", "a", "a b", "A", "a:b", "a~b", "a#", "%", "|", "\"", "\x00", "\x00a", "\xff", "\xff\xfe", "é", "e\u0301", "🔑", "\n",
		strings.Repeat("x", 190), strings.Repeat("x", 191), strings.Repeat("x", 5000), strings.Repeat("x", 5001), "_tag:a", "_lock"}
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegion(t, open(t), nil)
			c := dogpile.NewCache[string](r, &dogpile.CacheOptions[string]{Tags: func(key string) []string { return []string{odd[int(key[0])]} }})
			key := func(i int) string { return string([]byte{byte(i)}) }
			for i := range odd {
				wantErr(t, "Set", c.Set(bg, key(i), "v"), nil)
			}
			for i, tag := range odd {
				wantTags(t, tag, c, key(i), dogpile.Fresh, tag)
			}
			for i, tag := range odd {
				wantErr(t, "InvalidateTags", r.InvalidateTags(bg, dogpile.Hard, tag), nil)
				for j := range odd {
					e, ok, err := c.Peek(bg, key(j))
					if !ok || err != nil || (e.State == dogpile.Invalidated) != (j <= i) {
						t.Errorf("%q after %q: %v, %v, %v", odd[j], tag, e.State, ok, err)
					}
				}
			}
		})
	}
}

// TestTagScope: regions share the tags of their scope over one backend.
func TestTagScope(t *testing.T) {
	t.Parallel()
	b := newFake(t, like{bytes: true})
	scopes := []string{"", "a", "a:b", "a~b", "a#", "\xff", strings.Repeat("s", 500)}
	region := func(scope, prefix string) *dogpile.Region {
		return newRegion(t, b, &dogpile.Options{TagScope: scope, Prefix: prefix, Mangler: dogpile.SHA1})
	}
	caches := make([]*dogpile.Cache[int], len(scopes))
	for i, scope := range scopes {
		caches[i] = dogpile.NewCache(region(scope, fmt.Sprint(i)), &dogpile.CacheOptions[int]{Tags: func(string) []string { return []string{"b:c", "c"} }})
		wantErr(t, "Set", caches[i].Set(bg, "k", i), nil)
	}
	for i, scope := range scopes {
		wantErr(t, "InvalidateTags", newRegion(t, b, &dogpile.Options{TagScope: scope}).InvalidateTags(bg, dogpile.Soft, "c"), nil)
		for j := range scopes {
			want := dogpile.Fresh
			if j <= i {
				want = dogpile.Stale
			}
			wantTags(t, fmt.Sprintf("%q after %q", scopes[j], scope), caches[j], "k", want, "b:c", "c")
		}
	}
}

// keysError is an error of a backend that names keys.
type keysError struct{ error }

func (e keysError) Error() string { return e.Reason().Error() + ` for ["_tag::t" "_tag::u"]` }
func (e keysError) Reason() error { return e.error }
func (e keysError) Unwrap() error { return e.error }

// TestInvalidateTagsNamesTags, and no key of the library's own.
func TestInvalidateTagsNamesTags(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		r := newRegion(t, b, nil)
		b.in(func(_ context.Context, op string, _ []string) error { return keysError{errBackend} })
		err := r.InvalidateTags(bg, dogpile.Hard, "t", "u")
		wantErr(t, "InvalidateTags", err, errBackend)
		wantErr(t, "InvalidateTags", err, dogpile.ErrBackend)
		if text := err.Error(); strings.Contains(text, "_tag") || !strings.Contains(text, `"t"`) {
			t.Errorf("the error is %s", text)
		}
	})
}

func TestInvalidateTagsRefuses(t *testing.T) {
	t.Parallel()
	r := newRegion(t, newMemory(t), nil)
	if err := r.InvalidateTags(bg, dogpile.Mode(7), "t"); err == nil || !strings.Contains(err.Error(), "unknown mode 7") {
		t.Errorf("unknown mode: %v", err)
	}
	wantErr(t, "no tags", r.InvalidateTags(bg, dogpile.Hard), nil)
	wantErr(t, "not configured", dogpile.NewRegion("r").InvalidateTags(bg, dogpile.Hard, "t"), dogpile.ErrNotConfigured)
	dogpile.Creation(bg).Tag(bg, "t") // outside of a creator it does nothing
}
