package templatecache_test

import (
	"context"
	"fmt"
	html "html/template"
	"io"
	"strings"
	"testing"
	text "text/template"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/templatecache"
)

// What the templates tell is an error when they are bound, with its place.
func TestFaultsAreFoundWhenTemplatesAreBound(t *testing.T) {
	t.Parallel()
	const alone = "page:1: cached has to be an action of its own"
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		for source, want := range map[string]string{
			`{{cached ctx "x" "card" .}}`:                                           `page:1: region "x": not among Options.Regions, which are ["cards"]`,
			`{{cached ctx "" "card" .}}`:                                            `page:1: region ""`,
			`{{cached ctx "cards" "x" .}}`:                                          `page:1: template "x": no such template`,
			`{{cached ctx "cards" "Card" .}}`:                                       `page:1: template "Card": no such template`,
			`{{if .}}{{range .}}{{else}}{{cached ctx "x" "card" .}}{{end}}{{end}}`:  `page:1: region "x"`,
			`{{define "other"}}{{with .}}{{cached ctx "x" "card" .}}{{end}}{{end}}`: `page:1: region "x"`,
			`{{cached ctx "cards" "card" . (cacheTimeout "soon")}}`:                 `page:1: cacheTimeout "soon"`,
			`{{cached ctx "cards" "card" . (cacheTimeout "0s")}}`:                   `page:1: cacheTimeout "0s": it has to be positive`,
			`{{cached ctx "cards" "card" . (cacheTimeout "-5m")}}`:                  `page:1: cacheTimeout "-5m"`,
			`{{cached ctx "cards" "card" . ("soon" | cacheTimeout)}}`:               ``, // found when it is executed
			`{{cached}}`:                                                  `page:1: cached takes a context, a region, a template and data`,
			`{{cached ctx "cards" "card"}}`:                               `page:1: cached takes a context, a region, a template and data`,
			`{{cached ctx "cards" "card" . | printf "%s"}}`:               alone,
			`{{. | cached ctx "cards" "card"}}`:                           alone,
			`{{$x := cached ctx "cards" "card" .}}{{$x}}`:                 alone,
			`{{printf "%s" (cached ctx "cards" "card" .)}}`:               alone,
			`{{if cached ctx "cards" "card" .}}{{end}}`:                   alone,
			`{{with cached ctx "cards" "card" .}}{{.}}{{end}}`:            alone,
			`{{range cached ctx "cards" "card" .}}{{end}}`:                alone,
			`{{template "card" (cached ctx "cards" "card" .)}}`:           alone,
			`{{(cached ctx "cards" "card" .).String}}`:                    alone,
			`{{cached ctx "cards" "card" (cached ctx "cards" "card" .)}}`: alone,
			`{{(cached ctx "cards" "card" .)}}`:                           alone,
			`{{cached ctx "cards" "card" .}}`:                             ``,
			`{{cached ctx "cards" "page" .}}`:                             ``,
			`cached`:                                                      ``,
			`{{.cached}}`:                                                 ``,
		} {
			_, err := bind(source+`{{define "card"}}{{.}}{{end}}`, nil, newRegion(t, "cards", nil))
			if want == "" && err == nil {
				continue
			}
			want, end, _ := strings.Cut(want, ": ")
			if err == nil || want == "" || !strings.HasPrefix(err.Error(), "templatecache: "+want+":") || !strings.Contains(err.Error(), ": "+end) {
				t.Errorf("%s: %v", source, err)
			}
		}
	})
}

// All faults are in one error.
func TestAllFaultsAreInOneError(t *testing.T) {
	t.Parallel()
	set := parseHTML(t, `{{cached ctx "x" "card" .}}<p title="{{cached ctx "cards" "card" .}}">{{define "card"}}{{cached nil "cards" "y" .}}{{end}}`)
	cards := newRegion(t, "cards", nil)
	_, err := templatecache.BindHTML(set, &templatecache.Options{Regions: []*dogpile.Region{cards, nil, cards}})
	for _, want := range []string{`region "x"`, `template "y"`, "text of HTML", "region 1 is nil", `two regions are called "cards"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in the error\n%v", want, err)
		}
	}
	if n := strings.Count(fmt.Sprint(err), "\n") + 1; n != 5 {
		t.Errorf("%d faults\n%v", n, err)
	}
}

// What a template computes is an error when it is executed.
func TestFaultsAreFoundWhenTemplatesAreExecuted(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, bind bindFunc) {
		for call, want := range map[string]string{
			`ctx .X "card" 1`:                                        `region "x", template "card": not among Options.Regions, which are ["cards"]`,
			`ctx "cards" .X 1`:                                       `template "x": no such template`,
			`ctx "cards" .X 1 (cacheKey 1)`:                          `template "x": no such template`,
			`nil "cards" "card" 1`:                                   `template "card": the context is nil`,
			`.Ctx "cards" "card" 1`:                                  `the context is nil`,
			`.X "cards" "card" 1`:                                    `context.Context`,
			`ctx "cards" "card" 1 2`:                                 `option`,
			`ctx "cards" "card" 1 (cacheKey 1) (cacheKey 1)`:         `cacheKey is there twice`,
			`ctx "cards" "card" 1 (cacheTags) (cacheTags "x")`:       `cacheTags is there twice`,
			`ctx "cards" "card" 1 (cacheTags 1)`:                     `string`,
			`ctx "cards" "card" 1 (cacheTimeout .X)`:                 `cacheTimeout "x"`,
			`ctx "cards" "card" 1 (cacheTimeout 5)`:                  `string`,
			`ctx "cards" "card" 1 (cacheKey 1 .)`:                    `key argument 2: argument of type map[string]interface {}`,
			`ctx "cards" "card" .`:                                   `say with cacheKey`,
			`ctx "cards" "card" 1 (cacheKey) (cacheTags "x" "x")`:    ``,
			`ctx "cards" "card" nil (cacheTags) (cacheTimeout "1d")`: ``,
		} {
			b := mustBind(t, bind, `{{cached `+call+`}}{{define "card"}}card{{end}}`, nil, newRegion(t, "cards", nil))
			var s strings.Builder
			err := b.execute(&s, "page", map[string]any{"X": "x"})
			switch {
			case want == "" && (err != nil || s.String() != "card"):
				t.Errorf("%s: %q, %v", call, s.String(), err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%s: %v", call, err)
			}
		}
	})
}

// Without templates or options there is an error, or nothing to cache in.
func TestNothingToBind(t *testing.T) {
	t.Parallel()
	if f, err := templatecache.BindHTML(nil, nil); err == nil || f != nil {
		t.Errorf("BindHTML(nil) returned %v, %v", f, err)
	}
	if f, err := templatecache.BindText(nil, nil); err == nil || f != nil {
		t.Errorf("BindText(nil) returned %v, %v", f, err)
	}
	for _, o := range []*templatecache.Options{nil, {}} {
		for source, want := range map[string]bool{``: true, `{{.}}`: true, `{{cached ctx "cards" "page" .}}`: false} {
			if _, err := templatecache.BindHTML(parseHTML(t, source), o); (err == nil) != want {
				t.Errorf("BindHTML of %q: %v", source, err)
			}
		}
		if _, err := templatecache.BindText(text.New("empty"), o); err != nil {
			t.Errorf("BindText without templates: %v", err)
		}
		if _, err := templatecache.BindHTML(html.New("empty"), o); err != nil {
			t.Errorf("BindHTML without templates: %v", err)
		}
	}
}

// Templates may have any names.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", " ", "a|b", "_lock", "_inv:", "a@b", "\"", "\n", "é", "{{", "templatecache stop", "%s", strings.Repeat("x", 500)} {
		cards := newRegion(t, name, &dogpile.Options{Prefix: dogpile.NoPrefix})
		set := html.Must(html.New("page").Funcs(templatecache.FuncMap()).Funcs(html.FuncMap{"ctx": context.Background}).Parse(
			fmt.Sprintf(`{{define %q}}<b>{{.}}</b>{{end}}{{cached ctx %q %q .}}`, "the "+name, name, "the "+name)))
		bindHTML(t, set, cards)
		for range 2 {
			if got := render(t, set, 1); got != "<b>1</b>" {
				t.Errorf("template %q: %q", name, got)
			}
		}
		if got := cards.Stats(); got.Hits != 1 || got.Stores != 1 {
			t.Errorf("template %q: %d hits, %d stores", name, got.Hits, got.Stores)
		}
	}
}

// A hit clones nothing: what it allocates does not grow with the templates.
func TestHitDoesNotClone(t *testing.T) {
	allocs := func(templates int) float64 {
		var source strings.Builder
		for i := range templates {
			fmt.Fprintf(&source, `{{define "t%d"}}<p title="{{.}}">{{if .}}{{.}}{{end}}</p>{{end}}`, i)
		}
		set := parseHTML(t, `{{cached ctx "cards" "t0" .}}`+source.String())
		bindHTML(t, set, newRegion(t, "cards", nil))
		render(t, set, 1)
		return testing.AllocsPerRun(20, func() {
			if err := set.Execute(io.Discard, 1); err != nil {
				t.Error(err)
			}
		})
	}
	if few, many := allocs(1), allocs(300); many > few+5 {
		t.Errorf("a hit allocates %v times with one template, and %v times with 300", few, many)
	}
}
