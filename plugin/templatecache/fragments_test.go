package templatecache_test

import (
	"context"
	"fmt"
	html "html/template"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	text "text/template"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/templatecache"
)

// bound is a set of templates of either package that is bound.
type bound struct {
	*templatecache.Fragments
	execute func(w io.Writer, name string, data any) error
}

func (b bound) render(t *testing.T, name string, data any) string {
	t.Helper()
	var s strings.Builder
	if err := b.execute(&s, name, data); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return s.String()
}

// bothKinds runs a test with the templates of both packages.
func bothKinds(t *testing.T, test func(t *testing.T, bind func(source string, functions map[string]any, regions ...*dogpile.Region) (bound, error))) {
	t.Helper()
	type binder = func(string, map[string]any, ...*dogpile.Region) (bound, error)
	for name, bind := range map[string]binder{
		"html": func(source string, functions map[string]any, regions ...*dogpile.Region) (bound, error) {
			set, err := html.New("page").Funcs(templatecache.FuncMap()).Funcs(functions).Parse(source)
			if err != nil {
				return bound{}, err
			}
			f, err := templatecache.BindHTML(set, &templatecache.Options{Regions: regions})
			return bound{f, set.ExecuteTemplate}, err
		},
		"text": func(source string, functions map[string]any, regions ...*dogpile.Region) (bound, error) {
			set, err := text.New("page").Funcs(templatecache.FuncMap()).Funcs(functions).Parse(source)
			if err != nil {
				return bound{}, err
			}
			f, err := templatecache.BindText(set, &templatecache.Options{Regions: regions})
			return bound{f, set.ExecuteTemplate}, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(source string, functions map[string]any, regions ...*dogpile.Region) (bound, error) {
				all := map[string]any{"ctx": context.Background}
				for name, f := range functions {
					all[name] = f
				}
				return bind(source, all, regions...)
			})
		})
	}
}

type bindFunc = func(source string, functions map[string]any, regions ...*dogpile.Region) (bound, error)

func mustBind(t *testing.T, bind bindFunc, source string, functions map[string]any, regions ...*dogpile.Region) bound {
	t.Helper()
	b, err := bind(source, functions, regions...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// counter is a function of templates that counts its calls and writes its argument.
type counter struct{ n atomic.Int64 }

func (c *counter) call(v any) any { c.n.Add(1); return v }

func (c *counter) functions() map[string]any { return map[string]any{"count": c.call} }

// A hit executes nothing, and loads nothing.
func TestHitExecutesNothing(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		var executed counter
		b := mustBind(t, bind, `{{cached ctx "cards" "card" .}}{{define "card"}}{{count .}}{{end}}`, executed.functions(), newRegion(t, "cards", nil))
		var loaded atomic.Int64
		for range 5 {
			if got := b.render(t, "page", loader{key: "x", load: func(context.Context) (any, error) { loaded.Add(1); return "tea", nil }}); got != "tea" {
				t.Errorf("the page is %q", got)
			}
		}
		if executed.n.Load() != 1 || loaded.Load() != 1 {
			t.Errorf("executed %d times, loaded %d times", executed.n.Load(), loaded.Load())
		}
	})
}

// loader is a Loader whose key is a string.
type loader struct {
	key  string
	load func(context.Context) (any, error)
}

func (l loader) CacheKey() string                      { return l.key }
func (l loader) Load(ctx context.Context) (any, error) { return l.load(ctx) }

// Of many pages that want one fragment at once, one makes it.
func TestOneOfManyMakesTheFragment(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		synctest.Test(t, func(t *testing.T) {
			var made counter
			slow := map[string]any{"count": func(v any) any { time.Sleep(time.Second); return made.call(v) }}
			region := newRegion(t, "cards", nil)
			b := mustBind(t, bind, `{{cached ctx "cards" "card" .}}{{define "card"}}{{count .}}{{end}}`, slow, region)
			var pages sync.WaitGroup
			for range 100 {
				pages.Go(func() {
					if got := b.render(t, "page", "tea"); got != "tea" {
						t.Errorf("the page is %q", got)
					}
				})
			}
			pages.Wait()
			if made.n.Load() != 1 {
				t.Errorf("%d creations", made.n.Load())
			}
		})
	})
}

// Different fragments, nested in each other, are made in many goroutines at once: each has its
// own data and its own context.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		cards, pages := newRegion(t, "cards", nil), newRegion(t, "pages", nil)
		b := mustBind(t, bind, `{{cached ctx "pages" "list" .}}`+
			`{{define "list"}}[{{range .}}{{cached nil "cards" "card" .}}{{end}}]{{end}}{{define "card"}}({{.}}){{end}}`, nil, cards, pages)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for j := range 50 {
					x, y := (i+j)%10, j%7
					if got, want := b.render(t, "page", []int{x, y}), fmt.Sprintf("[(%d)(%d)]", x, y); got != want {
						t.Errorf("the page is %q, want %q", got, want)
					}
				}
			})
		}
		all.Wait()
	})
}

// Duration has the name of another type.
type Duration int64

// Two sets of data, or of arguments, that may be written differently are two fragments.
func TestKeysTellDataApart(t *testing.T) {
	t.Parallel()
	type id int
	type point struct{ X, Y int }
	type other struct{ X, Y int }
	one := point{1, 2}
	data := []any{
		nil, "", "!", "nil", "a", "a,b", "a|b", "a'b", "A", "a b", "a%20b", `"a"`, "\x00", "\xff", "_lock", "1", "42", "+42", "-1", "042", "1e3",
		html.HTML("a"), html.HTML("<b>"), "<b>", html.JS("a"), html.URL("a"), []byte("a"), 1, 42, -1, id(42), 42.0, float32(42), 42.5,
		true, false, "true", "false", point{1, 2}, other{1, 2}, "(1,2)", []int{1, 2}, [2]int{1, 2}, []string{"a,b"}, []string{"a", "b"}, []string{}, []string(nil),
		[]id{1}, []html.HTML{"a"}, []string{"a"}, time.Unix(42, 0).UTC(), time.Second, Duration(time.Second), int64(1e18), uint64(1 << 63), (*point)(nil), (*id)(nil), 'a', complex(1, 2),
		strings.Repeat("x", 5000), strings.Repeat("x", 5001), "é", "e\u0301", "\u2028",
	}
	b := mustBind(t, func(source string, _ map[string]any, regions ...*dogpile.Region) (bound, error) {
		set := parseHTML(t, source)
		f, err := templatecache.BindHTML(set, &templatecache.Options{Regions: regions})
		return bound{f, set.ExecuteTemplate}, err
	}, `{{define "card"}}{{end}}{{define "other"}}{{end}}{{define "a@b|c,d"}}{{end}}`, nil)
	keys := make(map[string]any)
	add := func(what any, template string, args ...any) {
		key, err := b.Key(template, args...)
		if err != nil {
			t.Errorf("%#v: %v", what, err)
		}
		if before, ok := keys[key]; ok {
			t.Errorf("%#v and %#v share the key %q", before, what, key)
		}
		keys[key] = what
		if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("the key %q is not printable ASCII", key)
		}
	}
	for _, v := range data {
		add(v, "card", v)
		add([]any{v, ""}, "card", v, "")
		add([]any{"", v, 1}, "card", "", v, 1)
		add([]any{"other", v}, "other", v)
	}
	add("no argument", "card")
	add("another template", "a@b|c,d")
	for _, same := range [][2]any{{42, uint8(42)}, {one, &one}, {int64(-1), -1}} {
		a, _ := b.Key("card", same[0])
		if c, err := b.Key("card", same[1]); a != c || err != nil {
			t.Errorf("%#v and %#v have the keys %q and %q, %v", same[0], same[1], a, c, err)
		}
	}
}

// named says its name by pointer alone.
type named struct{ Name string }

func (n *named) String() string { return "this is " + n.Name }

// A pointer whose methods the value lacks makes other fragments than the value.
func TestKeysTellPointersWithMethodsApart(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		b := mustBind(t, bind, `{{cached ctx "cards" "card" .}}{{define "card"}}{{.}}{{end}}`, nil, newRegion(t, "cards", nil))
		for _, row := range []struct {
			data any
			want string
		}{{named{"tea"}, "{tea}"}, {&named{"tea"}, "this is tea"}, {&named{"rye"}, "this is rye"}, {named{"tea"}, "{tea}"}} {
			if got := b.render(t, "page", row.data); got != row.want {
				t.Errorf("%#v: the page is %q, want %q", row.data, got, row.want)
			}
		}
	})
}

// What has no key is an error that says what to do; and nothing panics.
func TestDataWithoutAKey(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		b := mustBind(t, bind, `{{cached ctx "cards" "card" .}}{{define "card"}}{{end}}{{define "keyed"}}{{cached ctx "cards" "card" . (cacheKey .)}}{{end}}`,
			nil, newRegion(t, "cards", nil))
		type recursive struct{ Next *recursive }
		for _, data := range []any{map[string]any{"a": 1}, []any{1}, func() {}, make(chan int), &sync.Mutex{}, recursive{}, struct{ V any }{1}} {
			err := b.execute(io.Discard, "page", data)
			if err == nil || !strings.Contains(err.Error(), "cacheKey") || !strings.Contains(err.Error(), `region "cards", template "card"`) {
				t.Errorf("%T: %v", data, err)
			}
			if err := b.execute(io.Discard, "keyed", data); err == nil || strings.Contains(err.Error(), "say with") {
				t.Errorf("%T: %v", data, err)
			}
		}
	})
}

// The key changes with each template that the fragment consists of, and with no other.
func TestChangedTemplatesHaveOtherKeys(t *testing.T) {
	t.Parallel()
	source := `{{define "card"}}1{{template "part" .}}{{block "blocked" .}}2{{end}}{{cached nil "cards" "inner" .}}{{end}}` +
		`{{define "part"}}{{template "deep" .}}{{end}}{{define "deep"}}3{{end}}{{define "inner"}}{{if .}}4{{end}}{{end}}{{define "unused"}}5{{end}}` +
		`{{define "any"}}{{cached nil "cards" .Name .}}{{end}}`
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		key := func(source, template string) string {
			key, err := mustBind(t, bind, source, nil, newRegion(t, "cards", nil)).Key(template, 42)
			if err != nil {
				t.Error(err)
			}
			return key
		}
		card, all := key(source, "card"), key(source, "any")
		if again := key(source, "card"); again != card {
			t.Errorf("the same templates have the keys %q and %q", card, again)
		}
		for part, what := range map[string]string{"1": "itself", "2": "a block", "3": "what an included one includes", "4": "a fragment in it"} {
			if key(strings.Replace(source, part, "9", 1), "card") == card {
				t.Errorf("the key does not change with %s", what)
			}
		}
		if key(strings.Replace(source, "5", "9", 1), "card") != card {
			t.Error("the key changes with a template that the fragment does not include")
		}
		if key(strings.Replace(source, "5", "9", 1), "any") == all {
			t.Error("the key does not change with a template that the fragment may include")
		}
	})
}

// A template is another one in the other package, where nothing is escaped.
func TestKindsShareNoFragments(t *testing.T) {
	t.Parallel()
	const source = `{{cached ctx "cards" "card" .}}{{define "card"}}{{.}}{{end}}`
	cards := newRegion(t, "cards", nil)
	plain := text.Must(text.New("page").Funcs(templatecache.FuncMap()).Funcs(text.FuncMap{"ctx": context.Background}).Parse(source))
	if _, err := templatecache.BindText(plain, &templatecache.Options{Regions: []*dogpile.Region{cards}}); err != nil {
		t.Fatal(err)
	}
	escaped := parseHTML(t, source)
	bindHTML(t, escaped, cards)
	if got := render(t, plain, "<b>"); got != "<b>" {
		t.Errorf("text/template wrote %q", got)
	}
	if got := render(t, escaped, "<b>"); got != "&lt;b&gt;" {
		t.Errorf("html/template wrote %q", got)
	}
}

// Text with braces, under other delimiters, is not an action with them.
func TestDelimitersAreInTheDigest(t *testing.T) {
	t.Parallel()
	key := func(left, right, source string) string {
		set := text.Must(text.New("page").Delims(left, right).Parse(source))
		f, err := templatecache.BindText(set, nil)
		if err != nil {
			t.Fatal(err)
		}
		key, err := f.Key("page")
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	if key("", "", `{{.}}`) == key("<<", ">>", `{{.}}`) {
		t.Error("a text and an action have one key")
	}
	if key("<<", ">>", `{{.}}<<.>>`) == key("<<", ">>", `<<.>>{{.}}`) {
		t.Error("a text and an action have the key of the two the other way round")
	}
}
