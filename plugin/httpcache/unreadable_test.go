package httpcache_test

import (
	"testing"
)

// TestRequestThatCannotBeRead: a request that forbids to store its response and says more, that
// is not understood, still forbids it.
func TestRequestThatCannotBeRead(t *testing.T) {
	for _, control := range []string{
		"no-store, max-age=x", "max-age=x, no-store", "no-store=1", "no-store, min-fresh=-1", "no-store, no-cache=\"x\"",
		"foo=\", no-store",
	} {
		bubble(t, func(t *testing.T) {
			s := newSite(t, nil, nil, nil, answers("Cache-Control: max-age=60"))
			s.want("first", s.do("GET /", "Cache-Control: "+control), 200, "1", 1)
			s.want(control, s.do("GET /"), 200, "2", 2)
		})
	}
}
