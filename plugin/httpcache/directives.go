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

// wantsOf reads the directives of a request. Of one that cannot be read as a whole, those that
// keep caches out of it count.
func wantsOf(h http.Header) wants {
	lines := h.Values("Cache-Control")
	if len(lines) == 0 {
		// RFC 9111, section 5.4.
		return wants{maxAge: -1, anew: slices.Contains(listOf(h.Values("Pragma")), "no-cache")}
	}
	d, err := cacheobject.ParseRequestCacheControl(strings.Join(lines, ", "))
	if err != nil {
		return wants{maxAge: -1, noStore: names(lines, "no-store"), anew: names(lines, "no-cache")}
	}
	return wants{
		noStore: d.NoStore, anew: d.NoCache || d.MaxAge == 0, onlyIfCached: d.OnlyIfCached,
		maxAge: seconds(d.MaxAge), minFresh: max(seconds(d.MinFresh), 0),
	}
}

// names reports whether a directive is in lines, with an argument or without.
func names(lines []string, directive string) bool {
	return slices.ContainsFunc(listOf(lines), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return strings.EqualFold(strings.TrimRight(name, " \t"), directive)
	})
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
