package httpcache

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/cachecontrol/cacheobject"
)

// wants is what a request asks of caches.
type wants struct {
	noStore      bool
	anew         bool // no-cache: what is stored will not do
	onlyIfCached bool
	maxAge       time.Duration // -1: any
	minFresh     time.Duration
}

// wantsOf reads the directives of a request. What cannot be read asks for nothing.
func wantsOf(h http.Header) wants {
	lines := h.Values("Cache-Control")
	if len(lines) == 0 {
		// RFC 9111, section 5.4.
		return wants{maxAge: -1, anew: slices.Contains(listOf(h.Values("Pragma")), "no-cache")}
	}
	d, err := cacheobject.ParseRequestCacheControl(strings.Join(lines, ", "))
	if err != nil {
		return wants{maxAge: -1}
	}
	return wants{
		noStore: d.NoStore, anew: d.NoCache || d.MaxAge == 0, onlyIfCached: d.OnlyIfCached,
		maxAge: seconds(d.MaxAge), minFresh: max(seconds(d.MinFresh), 0),
	}
}

// seconds returns -1 for a directive that is not there.
func seconds(d cacheobject.DeltaSeconds) time.Duration {
	if d < 0 {
		return -1
	}
	return time.Duration(d) * time.Second
}

// directives are the Cache-Control of a response.
type directives struct {
	cacheobject.ResponseCacheDirectives
	bad            bool // it cannot be read: the response is not stored, lest no-store be overlooked
	mustUnderstand bool // RFC 9111, section 5.2.2.3
}

func directivesOf(h http.Header) directives {
	lines := h.Values("Cache-Control")
	if len(lines) == 0 {
		lines = []string{""}
	}
	d, err := cacheobject.ParseResponseCacheControl(strings.Join(lines, ", "))
	if err != nil {
		return directives{bad: true}
	}
	return directives{
		ResponseCacheDirectives: *d,
		mustUnderstand: slices.ContainsFunc(d.Extensions, func(s string) bool {
			return strings.EqualFold(s, "must-understand")
		}),
	}
}
