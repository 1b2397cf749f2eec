package httpcache_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// echoes returns a handler that answers with the values of headers, and names them in Vary.
func echoes(names ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Vary", strings.Join(names, ", "))
		for _, name := range names {
			fmt.Fprintf(w, "%q ", r.Header[name])
		}
	}
}

// TestVariants: requests with other values get other responses, each is made once, and comes
// back.
func TestVariants(t *testing.T) {
	for kind, options := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newSite(t, options, nil, nil, echoes("Foo", "Bar"))
				requests := map[string][]string{
					`[] [] `:                 nil,
					`["1"] [] `:              {"Foo: 1"},
					`["1"] ["2"] `:           {"Foo: 1", "Bar: 2"},
					`["1" "2"] [] `:          {"Foo: 1", "Foo: 2"},
					`["1, 2"] [] `:           {"Foo: 1, 2"},
					`["1,2"] [] `:            {"Foo: 1,2"},
					`["a"] [] `:              {"Foo: a", "Other: ignored"},
					`["A"] [] `:              {"Foo: A"},
					`["1"] ["2 "] `:          {"Foo: 1", "Bar: 2 "},
					`["1 ["] ["2"] `:         {"Foo: 1 [", "Bar: 2"},
					`["\xff"] ["\xfe\xff"] `: {"Foo: \xff", "Bar: \xfe\xff"},
				}
				for round := range 3 {
					for body, headers := range requests {
						got := s.do("GET /", headers...)
						s.want(fmt.Sprint(headers), got, 200, body, s.calls.Load())
						if hit := strings.Contains(got.Header.Get("Cache-Status"), "hit"); hit != (round > 0) {
							t.Errorf("round %d, %q: %s", round, headers, got.Header.Get("Cache-Status"))
						}
					}
				}
				s.wantCalls("in all", int64(len(requests)))
			})
		})
	}
}

// TestVaryThatChanges: the second response depends on more than the first one did.
func TestVaryThatChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=3600")
			w.Header().Add("Vary", "Foo")
			body := "foo " + r.Header.Get("Foo")
			if r.Header.Get("Foo") == "2" {
				w.Header().Add("Vary", "Bar")
				body += " bar " + r.Header.Get("Bar")
			}
			_, _ = io.WriteString(w, body)
		})
		for range 2 {
			for foo := range 3 {
				for bar := range 3 {
					body := fmt.Sprint("foo ", foo)
					if foo == 2 {
						body += fmt.Sprint(" bar ", bar)
					}
					s.want("", s.do("GET /", fmt.Sprint("Foo: ", foo), fmt.Sprint("Bar: ", bar)), 200, body, s.calls.Load())
				}
			}
		}
		s.wantCalls("in all", 2+3)
	})
}

// TestImpliedVary: responses that depend on a header without saying so.
func TestImpliedVary(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		// What go-chi/stampede did: the first caller's CORS header went to all.
		"Origin": func(w http.ResponseWriter, r *http.Request) {
			if origin := r.Header.Get("Origin"); origin != "" {
				w.Header().Set("Access-Control-Allow-Origin", origin)
			}
		},
		"Accept-Encoding": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "" {
				w.Header().Set("Content-Encoding", r.Header.Get("Accept-Encoding"))
			}
		},
	} {
		bubble(t, func(t *testing.T) {
			s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				handler(w, r)
			})
			answer := map[string]string{"Origin": "Access-Control-Allow-Origin", "Accept-Encoding": "Content-Encoding"}[name]
			for round := range 2 {
				for i, value := range []string{"http://a", "http://b", ""} {
					if got := s.do("GET /", name+": "+value).Header.Get(answer); got != value {
						t.Errorf("%s: %q: the response is for %q", name, value, got)
					}
					if n := int64(i + 1); round == 0 && s.calls.Load() != n {
						t.Errorf("%s: %q: %d calls, want %d", name, value, s.calls.Load(), n)
					}
				}
			}
		})
	}
}

// TestDeleteByURL: all variants go, however the URL is written.
func TestDeleteByURL(t *testing.T) {
	for _, spelling := range []string{
		"http://example.com/a?x=1&y=2", "HTTP://EXAMPLE.COM/a?x=1&y=2", "http://example.com:80/a?y=2&x=1",
		"http://example.com/%61?x=%31&y=2", "http://example.com/a?x=1&y=2#fragment",
	} {
		bubble(t, func(t *testing.T) {
			s := newSite(t, nil, nil, nil, echoes("Foo"))
			for i := range 3 {
				s.do("GET /a?x=1&y=2", fmt.Sprint("Foo: ", i))
			}
			s.do("GET /b")
			ok(t, httpcache.Delete(t.Context(), s.region, nil, spelling))
			for i := range 3 {
				s.do("GET /a?x=1&y=2", fmt.Sprint("Foo: ", i))
			}
			s.do("GET /b")
			s.wantCalls(spelling, 4+3)
		})
	}
}

// TestDeleteOvertakesAVariant:
//
//  1. A asks for a variant, and the handler reads the origin.  2. The origin changes, and the
//     URL is deleted.  3. The handler's response is stored, under a key that nobody will look
//     for.  4. B asks.
func TestDeleteOvertakesAVariant(t *testing.T) {
	for kind, options := range kinds {
		for _, first := range []string{"1", "2"} { // the one under the URL's own key, or another
			t.Run(kind+" "+first, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					version := "old"
					s := newSite(t, options, nil, nil, func(w http.ResponseWriter, r *http.Request) {
						v := version
						time.Sleep(time.Second)
						w.Header().Set("Cache-Control", "max-age=3600")
						w.Header().Set("Vary", "Foo")
						fmt.Fprint(w, v, r.Header.Get("Foo"))
					})
					s.do("GET /", "Foo: "+first)
					go s.do("GET /", "Foo: 2") // 1
					pass(time.Second / 2)
					version = "new"
					ok(t, httpcache.Delete(t.Context(), s.region, nil, "http://example.com/")) // 2
					pass(time.Second)
					for range 2 {
						s.want("B", s.do("GET /", "Foo: 2"), 200, "new2", s.calls.Load())
						s.want("another", s.do("GET /", "Foo: 1"), 200, "new1", s.calls.Load())
					}
				})
			})
		}
	}
}

// TestDeleteRefuses: what is no absolute URL is an error that names it, and nothing is deleted.
func TestDeleteRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, answers("Cache-Control: max-age=60"))
		s.do("GET /")
		for _, bad := range []string{"/a", "example.com/a", "http://", "http://x/%zz", ""} {
			err := httpcache.Delete(t.Context(), s.region, nil, "http://example.com/", bad)
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		s.want("afterwards", s.do("GET /"), 200, "1", 1)
	})
}

// TestTags: by the header, by a function, and inherited from what the handler has read.
func TestTags(t *testing.T) {
	for kind, options := range kinds {
		for name, way := range map[string]func(s **site) (*httpcache.Options, func(http.ResponseWriter, *http.Request)){
			"header": func(**site) (*httpcache.Options, func(http.ResponseWriter, *http.Request)) {
				return nil, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Add("Cache-Tag", "x,product:42 , y")
				}
			},
			"function": func(**site) (*httpcache.Options, func(http.ResponseWriter, *http.Request)) {
				tags := func(r *http.Request, _ http.Header) []string { return []string{"product:" + r.URL.Path[1:]} }
				return &httpcache.Options{Tags: tags}, func(http.ResponseWriter, *http.Request) {}
			},
			"inherited": func(s **site) (*httpcache.Options, func(http.ResponseWriter, *http.Request)) {
				return nil, func(w http.ResponseWriter, r *http.Request) {
					products := dogpile.NewCache[int]((*s).region, nil)
					_, err := products.GetOrCreate(r.Context(), "42", func(ctx context.Context) (int, error) {
						dogpile.Creation(ctx).Tag(ctx, "product:42")
						return 42, nil
					})
					ok((*s).t, err)
				}
			},
		} {
			for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft} {
				t.Run(fmt.Sprint(kind, " ", name, " ", mode), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						var s *site
						o, before := way(&s)
						handler := answers("Cache-Control: max-age=3600")
						s = newSite(t, options, o, nil, func(w http.ResponseWriter, r *http.Request) {
							before(w, r)
							handler(w, r)
						})
						s.want("first", s.do("GET /42"), 200, "1", 1)
						s.want("hit", s.do("GET /42"), 200, "1", 1)
						ok(t, s.region.InvalidateTags(t.Context(), mode, "product:41"))
						s.want("another tag", s.do("GET /42"), 200, "1", 1)
						ok(t, s.region.InvalidateTags(t.Context(), mode, "product:42"))
						s.want("invalidated", s.do("GET /42"), 200, "2", 2)
						s.want("hit again", s.do("GET /42"), 200, "2", 2)
					})
				})
			}
		}
	}
}

// TestTagsOfARunningHandler: what a handler has read before its tag was invalidated is served to
// nobody who comes afterwards, although the tag is told afterwards.
func TestTagsOfARunningHandler(t *testing.T) {
	for kind, options := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				version := "old"
				s := newSite(t, options, nil, nil, func(w http.ResponseWriter, r *http.Request) {
					v := version
					time.Sleep(time.Second)
					w.Header().Set("Cache-Control", "max-age=3600")
					w.Header().Set("Cache-Tag", t.Name())
					_, _ = io.WriteString(w, v)
				})
				go s.do("GET /")
				pass(time.Second / 2)
				version = "new"
				ok(t, s.region.InvalidateTags(t.Context(), dogpile.Hard, t.Name()))
				s.want("who joins", s.do("GET /"), 200, "new", 2)
				s.want("who comes later", s.do("GET /"), 200, "new", 2)
			})
		})
	}
}

// TestOptionsAreChecked: what cannot be meant panics, and names the option.
func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]httpcache.Options{
		"MaxBody": {MaxBody: -1}, "Expiration": {Expiration: -1}, "StaleIfError": {StaleIfError: -1},
		"StaleWhileRevalidate": {StaleWhileRevalidate: -1}, "KeepFor": {KeepFor: -2},
	} {
		wantPanic(t, name, "Options."+name, func() { httpcache.Middleware(dogpile.NewRegion(""), &o) })
	}
}

// TestTagOfAConfirmation: a 304 tells a tag that the response did not have before.
func TestTagOfAConfirmation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=10")
			w.Header().Set("ETag", `"1"`)
			if r.Header.Get("If-None-Match") != "" {
				w.Header().Set("Cache-Tag", "new")
				w.WriteHeader(304)
			}
		})
		s.do("GET /")
		pass(time.Minute)
		s.want("it holds", s.do("GET /"), 200, "", 2)
		s.want("hit", s.do("GET /"), 200, "", 2)
		ok(t, s.region.InvalidateTags(t.Context(), dogpile.Hard, "new"))
		s.want("invalidated", s.do("GET /"), 200, "", 3)
	})
}
