package templatecache_test

import (
	"context"
	"fmt"
	html "html/template"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/templatecache"
)

// hostile is what users would type who want to leave the place that they are given.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `javascript:alert(1)`,
	`</title></textarea></style></script>`, `--><b>`, `*/ alert(1) /*`, "`${alert(1)}`", `\x3c\u003c`, "a\nb\x00c\xff",
	`{{.}}`, `&lt;b&gt;`, `expression(alert(1))`, `O'Reilly & "Sons" <x@y>`, "\u2028", `%3Cb%3E?a=b&c=d#e`, ``,
}

// card has data in all contexts of its own, so that a fragment has something to escape.
const card = `{{define "card"}}<p title="{{.}}" class={{.}} data-x='{{.}}' onclick="f({{.}}, '{{.}}')" style="color: {{.}}">` +
	`<a href="{{.}}">{{.}}</a><a href="/x?q={{.}}#{{.}}">x</a><img srcset="{{.}}">{{/* gone */}}<!-- {{.}} -->` +
	"<script>var x = {{.}}, y = \"{{.}}\", z = '{{.}}', t = `{{.}}`, r = /{{.}}/;</script>" +
	`<style>p { color: {{.}}; background: url("{{.}}") }</style><title>{{.}}</title><textarea>{{.}}</textarea>` +
	`{{if .}}{{template "inner" .}}{{else}}nothing{{end}}</p>{{end}}{{define "inner"}}<i title={{.}}>{{.}}</i>{{end}}`

// inText are places where a fragment can stand; @ is the fragment.
var inText = map[string]string{
	"alone":                          `@`,
	"between elements":               `<div>@</div>`,
	"after an element":               `<br>@<br/>`,
	"after a comment":                `<!-- x -->@`,
	"after a script":                 `<script>f("</")</script>@`,
	"after a style sheet":            `<style>a{}</style>@`,
	"after title and textarea":       `<title>x</title><textarea>y</textarea>@`,
	"after an attribute":             `<a title="x" href='y' class=z>@</a>`,
	"after quotes":                   `"'` + "`" + `@`,
	"in a branch":                    `{{if true}}<b>@</b>{{else}}@{{end}}`,
	"in a loop":                      `{{range 3}}@{{end}}`,
	"in with":                        `{{with "x"}}@{{end}}`,
	"in a list":                      `<ul><li>@<li>@</ul>`,
	"in a table":                     `<table><tr><td>@</table>`,
	"after a doctype":                `<!DOCTYPE html>@`,
	"in an included template":        `{{define "more"}}<b>@</b>{{end}}{{template "more" .}}`,
	"in a block":                     `{{block "more" .}}<b>@</b>{{end}}`,
	"in a script that is a text":     `<script type="text/template">@</script>`,
	"after a template that closes":   `{{define "open"}}<title>{{end}}{{define "close"}}</title>@{{end}}{{template "open"}}x{{template "close" .}}`,
	"in pre":                         `<pre>@</pre>`,
	"in noscript":                    `<noscript>@</noscript>`,
	"after a sign that opens no tag": `<@>`,
	"between a tag's two halves":     `<p {{if true}}>@<b {{end}}title="x">`,
	"in svg":                         `<svg><text>@</text></svg>`,
}

// elsewhere are places where it cannot.
var elsewhere = map[string]string{
	"title":                            `<title>@</title>`,
	"textarea":                         `<textarea>x @ y</textarea>`,
	"attribute in double quotes":       `<a title="@">`,
	"attribute in single quotes":       `<a title='@'>`,
	"attribute without quotes":         `<a title=@>`,
	"attribute, amid":                  `<a title="x @ y">`,
	"attribute without quotes, amid":   `<a title=x@y>`,
	"name of an attribute":             `<a @="x">`,
	"name of an attribute, amid":       `<a data-@="x">`,
	"after the name of an attribute":   `<a title @>`,
	"in a tag":                         `<a @>`,
	"in a tag, after an attribute":     `<a title="x" @>`,
	"name of an element, amid":         `<h@>`,
	"end tag":                          `</p @>`,
	"URL":                              `<a href="@">`,
	"URL without quotes":               `<a href=@>`,
	"path of a URL":                    `<a href="/x/@">`,
	"query of a URL":                   `<a href='/x?y=@'>`,
	"fragment of a URL":                `<a href="/x#@">`,
	"ambiguous part of a URL":          `<a href="/x{{if .}}?{{end}}@">`,
	"action of a form":                 `<form action="@">`,
	"srcset":                           `<img srcset="@">`,
	"srcset, amid":                     `<img srcset='a.png, @ 2x'>`,
	"content of meta":                  `<meta http-equiv="refresh" content="0; url=@">`,
	"content of another meta":          `<meta name="x" content="@">`,
	"handler":                          `<a onclick="@">`,
	"handler, in a call":               `<a onclick='f(@)'>`,
	"handler, in a string":             `<a onclick="f('@')">`,
	"handler without quotes":           `<a onclick=f(@)>`,
	"handler, in a comment":            `<a onclick="f() // @">`,
	"script":                           `<script>@</script>`,
	"script, value":                    `<script>var x = @;</script>`,
	"script, before a slash":           `<script>var x = @ / 2;</script>`,
	"script, string in double quotes":  `<script>var x = "@";</script>`,
	"script, string in single quotes":  `<script>var x = 'a@b';</script>`,
	"script, after an escape":          `<script>var x = "\"@";</script>`,
	"script, template literal":         "<script>var x = `@`;</script>",
	"script, in a template literal":    "<script>var x = `a${ @ }b`;</script>",
	"script, nested template literals": "<script>var x = `a${`@`}b`;</script>",
	"script, regular expression":       `<script>var x = /@/;</script>`,
	"script, class in a regexp":        `<script>var x = /[@]/;</script>`,
	"script, line comment":             "<script>// @\n</script>",
	"script, block comment":            `<script>/* @ */</script>`,
	"script, HTML comment":             "<script><!-- @\n</script>",
	"script, end of an HTML comment":   "<script>--> @\n</script>",
	"script of modules":                `<script type="module">@</script>`,
	"JSON":                             `<script type="application/json">{"a": @}</script>`,
	"JSON, in a string":                `<script type="application/ld+json">{"a": "@"}</script>`,
	"style sheet":                      `<style>@</style>`,
	"style sheet, value":               `<style>p { color: @ }</style>`,
	"style sheet, string":              `<style>p { font: "@" }</style>`,
	"style sheet, string in singles":   `<style>p { font: '@' }</style>`,
	"style sheet, URL":                 `<style>p { background: url(@) }</style>`,
	"style sheet, URL in doubles":      `<style>p { background: url("@") }</style>`,
	"style sheet, URL in singles":      `<style>p { background: url('/x?@') }</style>`,
	"style sheet, comment":             `<style>/* @ */</style>`,
	"style sheet, line comment":        "<style>// @\n</style>",
	"style attribute":                  `<p style="color: @">`,
	"style attribute, string":          `<p style="font: '@'">`,
	"style attribute, URL":             `<p style="background: url(@)">`,
	"comment":                          `<!-- @ -->`,
	"comment, at its end":              `<!-- x -@-->`,
	"in a branch of a script":          `<script>{{if .}}var x = @;{{end}}</script>`,
	"in a loop in an attribute":        `<p title="{{range .}}@{{end}}">`,
	"included in an attribute":         `{{define "more"}}x @ y{{end}}<p title="{{template "more" .}}">`,
	"included twice, once in a script": `{{define "more"}}@{{end}}{{template "more" .}}<script>{{template "more" .}}</script>`,
	"in a template that is opened":     `{{define "open"}}<title>{{end}}{{define "close"}}@</title>{{end}}{{template "open"}}{{template "close" .}}`,
	"after a template that opens":      `{{define "open"}}<title>{{end}}{{template "open"}}@</title>`,
}

func parseHTML(t *testing.T, source string) *html.Template {
	t.Helper()
	set, err := html.New("page").Funcs(templatecache.FuncMap()).Funcs(html.FuncMap{"ctx": context.Background}).Parse(source)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// page returns a page with fragment in the place of each @.
func page(place, fragment string) string { return strings.ReplaceAll(place, "@", fragment) + card }

// What is cached is byte for byte what {{template}} writes: when it is made, and when it is
// found.
func TestFragmentsAreEscapedAsTemplatesAre(t *testing.T) {
	t.Parallel()
	for name, place := range inText {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain := parseHTML(t, page(place, `{{template "card" $}}`))
			cached := parseHTML(t, page(place, `{{cached ctx "cards" "card" $}}`))
			cards := newRegion(t, "cards", nil)
			bindHTML(t, cached, cards)
			for _, data := range hostile {
				want := render(t, plain, data)
				for _, when := range []string{"made", "found"} {
					if got := render(t, cached, data); got != want {
						t.Errorf("%q, when the fragment is %s:\n%s\nwant\n%s", data, when, got, want)
					}
				}
			}
			if cards.Stats().Hits < int64(len(hostile)) {
				t.Errorf("%d hits", cards.Stats().Hits)
			}
		})
	}
}

// Where a fragment cannot stand BindHTML says so, with the place, and binds nothing.
func TestFragmentsStandInTextOnly(t *testing.T) {
	t.Parallel()
	for name, place := range elsewhere {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := parseHTML(t, page(place, `{{cached ctx "cards" "card" $}}`))
			f, err := templatecache.BindHTML(set, &templatecache.Options{Regions: []*dogpile.Region{newRegion(t, "cards", nil)}})
			if err == nil || f != nil || !strings.Contains(err.Error(), "page:") || strings.Contains(err.Error(), "stop") {
				t.Errorf("BindHTML returned %v, %v", f, err)
			}
			if got := set.Execute(io.Discard, "x"); got == nil {
				t.Error("the templates work, though they are not bound")
			}
		})
	}
}

// Every misplaced fragment is named, and no other.
func TestEveryMisplacedFragmentIsNamed(t *testing.T) {
	t.Parallel()
	set := parseHTML(t, `{{cached ctx "cards" "card" .}}
<p title="{{cached ctx "cards" "card" .}}">
{{cached ctx "cards" "card" .}}<script>{{cached ctx "cards" "card" .}}</script>`+card)
	_, err := templatecache.BindHTML(set, &templatecache.Options{Regions: []*dogpile.Region{newRegion(t, "cards", nil)}})
	want := "templatecache: page:2:12: cached can stand in the text of HTML only\n" +
		"templatecache: page:3:41: cached can stand in the text of HTML only"
	if err == nil || err.Error() != want {
		t.Errorf("BindHTML failed with\n%v\nwant\n%s", err, want)
	}
}

// A fragment begins and ends in the text of HTML.
func TestFragmentsEndInText(t *testing.T) {
	t.Parallel()
	for name, fragment := range map[string]string{
		"an open attribute": `<p title="`, "an open tag": `<p `, "an open script": `<script>`, "an open comment": `<!-- `,
		"branches that differ": `<p {{if .}}title="{{else}}>{{end}}`, "no such template": `{{template "none"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := parseHTML(t, `{{cached ctx "cards" "open" .}}{{define "open"}}`+fragment+`{{end}}`)
			_, err := templatecache.BindHTML(set, &templatecache.Options{Regions: []*dogpile.Region{newRegion(t, "cards", nil)}})
			if err == nil || !strings.Contains(err.Error(), "open") {
				t.Errorf("BindHTML returned %v", err)
			}
			// Where its name is not known before, it is an error when it is executed.
			set = parseHTML(t, `{{$name := "open"}}{{cached ctx "cards" $name .}}{{define "open"}}`+fragment+`{{end}}`)
			bindHTML(t, set, newRegion(t, "cards", nil))
			if err := set.Execute(io.Discard, "x"); err == nil || !strings.Contains(err.Error(), `template "open"`) {
				t.Errorf("Execute returned %v", err)
			}
		})
	}
}

// BindHTML and html/template are of one mind on what the text of HTML is, wherever a fragment
// stands: there html/template has one escaper for what is written, and elsewhere others. A
// version of Go that calls it otherwise fails this test, not BindHTML.
func TestTextIsWhatTheEscaperTakesForText(t *testing.T) {
	t.Parallel()
	pieces := []string{
		`<p>`, `<p `, `<a href=`, `<a title=`, `<a onclick=`, `<a style=`, `<img srcset=`, `<meta content=`, `<script>`, `<script type="text/x">`,
		`<script type=module>`, `<style>`, `<title>`, `<textarea>`, `</script>`, `</style>`, `</title>`, `</textarea>`, `<!--`, `-->`, `"`, `'`, "`", `${ `, `}`,
		`/`, `//`, `/*`, `*/`, "\n", ` `, `>`, `<`, `=`, `x`, `url(`, `)`, `?`, `#`, `:`, `\`, `[`, `]`, `<br/>`, `&quot;`, `{{if .}}x{{end}}`, `0 / `,
	}
	random := rand.New(rand.NewPCG(1, 2))
	cards := newRegion(t, "cards", nil)
	text, elsewhere := 0, 0
	for range 1500 {
		var before strings.Builder
		for range 1 + random.IntN(6) {
			before.WriteString(pieces[random.IntN(len(pieces))])
		}
		// What comes after it ends whatever is open, so that html/template takes most of them.
		after := pieces[random.IntN(len(pieces))] + "\n" + `*/"'>"'` + "`" + `--></script></style></title></textarea>`
		set := parseHTML(t, before.String()+`{{.}}`+after)
		root := set.Tree
		if set.Execute(io.Discard, "") != nil {
			continue
		}
		escapers := root.Root.String()
		isText := strings.Contains(escapers, `{{. | _html_template_htmlescaper}}`)
		_, err := templatecache.BindHTML(parseHTML(t, before.String()+`{{cached ctx "cards" "card" .}}`+after+`{{define "card"}}{{end}}`),
			&templatecache.Options{Regions: []*dogpile.Region{cards}})
		if isText != (err == nil) {
			t.Errorf("%s\nBindHTML: %v", escapers, err)
		}
		if isText {
			text++
		} else {
			elsewhere++
		}
	}
	if text < 100 || elsewhere < 100 {
		t.Errorf("%d places in text, %d elsewhere: too few", text, elsewhere)
	}
}

// Which fragments were made before makes no difference: neither to whether a template can be
// one, nor to how it is escaped.
func TestFragmentsDoNotDependOnThoseBefore(t *testing.T) {
	t.Parallel()
	const source = `{{define "open"}}<script>x = {{end}}{{define "one"}}{{template "open"}}{{.ID}}</script>{{end}}` +
		`{{define "two"}}{{template "open"}}{{.ID}} + 1</script>{{end}}`
	for name, order := range map[string][]string{
		"one at a time": {"one", "two"}, "one that is no fragment first": {"open", "two", "one"}, "and last": {"two", "open", "one", "open"},
	} {
		set := parseHTML(t, `{{cached ctx "cards" .Name .}}`+source)
		bindHTML(t, set, newRegion(t, "cards", nil))
		for id := range 10 {
			data := struct{ Name, ID string }{ID: fmt.Sprint("alert(", id, ")")}
			for _, data.Name = range order {
				if data.Name == "open" {
					if err := set.Execute(io.Discard, data); err == nil || !strings.Contains(err.Error(), "non-text context") {
						t.Errorf("%s: Execute returned %v", name, err)
					}
					continue
				}
				want := render(t, parseHTML(t, `{{template "`+data.Name+`" .}}`+source), data)
				if got := render(t, set, data); got != want {
					t.Errorf("%s: %q is %q, want %q", name, data.Name, got, want)
				}
			}
		}
	}
}
