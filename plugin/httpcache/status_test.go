package httpcache_test

import (
	"net/http/httptest"
	"testing"

	"github.com/dunglas/httpsfv"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// TestCacheIsNamed: any name of a region gives a Cache-Status that can be read.
func TestCacheIsNamed(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]any{
		"pages": httpsfv.Token("pages"), "": httpsfv.Token("dogpile"), "my pages": "my pages", `a"b\c`: `a"b\c`,
		"bücher": "b?cher", "a\nb": "a?b", "1": "1", "a,b;c": "a,b;c",
	} {
		w := httptest.NewRecorder()
		httpcache.Middleware(dogpile.NewRegion(name), nil)(answers()).ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
		list, err := httpsfv.UnmarshalList(w.Header().Values("Cache-Status"))
		if err != nil || len(list) != 1 || list[0].(httpsfv.Item).Value != want {
			t.Errorf("%q: %q, %v", name, w.Header().Values("Cache-Status"), err)
		}
	}
}
