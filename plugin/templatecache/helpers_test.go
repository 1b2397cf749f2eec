package templatecache_test

import (
	html "html/template"
	"io"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/templatecache"
)

func newBackend(t *testing.T) *memory.Backend {
	t.Helper()
	b, err := memory.New(&memory.Options{Copy: true}) // bytes, as on a server
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// newRegion returns a region in memory.
func newRegion(t *testing.T, name string, o *dogpile.Options) *dogpile.Region {
	t.Helper()
	r := dogpile.NewRegion(name)
	if err := r.Configure(newBackend(t), o); err != nil {
		t.Fatal(err)
	}
	return r
}

func bindHTML(t *testing.T, set *html.Template, regions ...*dogpile.Region) *templatecache.Fragments {
	t.Helper()
	f, err := templatecache.BindHTML(set, &templatecache.Options{Regions: regions})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// render executes the template of a set that stands for it.
func render(t *testing.T, set interface{ Execute(io.Writer, any) error }, data any) string {
	t.Helper()
	var b strings.Builder
	if err := set.Execute(&b, data); err != nil {
		t.Error(err)
	}
	return b.String()
}
