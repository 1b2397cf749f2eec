package httpcache

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile"
)

// verdict is what may be done with a response.
type verdict int

const (
	// pass: it is for its client alone.
	pass verdict = iota
	// share: those who have waited for it are told its status, and nobody afterwards. It is
	// for origins that fail: one failure, one error.
	share
	// store: it may be stored.
	store
)

// judgement is what RFC 9111 says of a response.
type judgement struct {
	verdict verdict
	// authorized: it would be stored but for the Authorization of its request.
	authorized bool
	lifetime   time.Duration // from now; not above 0: it is stale from the beginning
	age        time.Duration // now
	revalidate time.Duration // for how long it may be served past its lifetime, while it is renewed
	ifError    time.Duration // the same, if that fails
	// explicit: it says itself how long it is fresh.
	explicit bool
}

// longest is how far ages and lifetimes go: 68 years, as RFC 9111, section 1.2.2, suggests.
const longest = (1<<31 - 1) * time.Second

// judge applies section 3 of RFC 9111 to a response of which the header has come at now.
func (o *Options) judge(r *http.Request, status int, h http.Header, now time.Time) judgement {
	d := directivesOf(h)
	var j judgement
	switch {
	case d.bad, d.NoStore, d.PrivatePresent, status < 200, status == http.StatusPartialContent, status == http.StatusNotModified:
		return j
	case d.mustUnderstand && http.StatusText(status) == "":
		return j
	case slices.Contains(varyOf(h), "*"), h.Get("Trailer") != "":
		return j
	case strings.HasPrefix(strings.ToLower(h.Get("Content-Type")), "text/event-stream"):
		return j // it has no end to wait for
	}
	j.freshness(o, &d, status, h, now)
	noCookie := len(h.Values("Set-Cookie")) == 0
	cacheable := noCookie && (j.explicit || isHeuristic(status) || d.Public)
	if !noCookie {
		// Only what calls itself fresh takes its cookie to others: max-age=0 does not.
		cacheable = j.explicit && j.lifetime > 0
	}
	switch {
	case r.Header.Get("Authorization") != "" && !d.Public && !d.MustRevalidate && d.SMaxAge < 0:
		j.authorized = cacheable
	case cacheable && (j.lifetime > 0 || j.revalidate > 0 || j.ifError > 0 || hasValidator(h)):
		j.verdict = store
	case status >= 500 && noCookie:
		j.verdict = share
	}
	return j
}

// freshness applies section 4.2 of RFC 9111, and RFC 5861.
func (j *judgement) freshness(o *Options, d *directives, status int, h http.Header, now time.Time) {
	date := now
	if t, err := http.ParseTime(h.Get("Date")); err == nil {
		date = t
	}
	age, known := ageOf(h)
	j.age = max(now.Sub(date), age, 0)
	expires := h.Values("Expires")
	lifetime := time.Duration(0)
	switch {
	case d.SMaxAge >= 0:
		lifetime, j.explicit = seconds(d.SMaxAge), true
	case d.MaxAge >= 0:
		lifetime, j.explicit = seconds(d.MaxAge), true
	case len(expires) > 0:
		if t, err := http.ParseTime(expires[0]); err == nil {
			lifetime = t.Sub(date)
		}
		j.explicit = true
	case isHeuristic(status) || d.Public:
		lifetime = o.guess(h, date)
	}
	// A Duration cannot hold the sum or difference of any two dates that a header can.
	j.age = min(j.age, longest)
	j.lifetime = min(max(lifetime, -longest), longest) - j.age
	mustAsk := d.NoCachePresent || d.MustRevalidate || d.ProxyRevalidate
	if d.NoCachePresent || !known {
		j.lifetime = 0
	}
	if mustAsk {
		return
	}
	j.revalidate, j.ifError = seconds(d.StaleWhileRevalidate), seconds(d.StaleIfError)
	if d.SMaxAge < 0 {
		// s-maxage forbids stale responses too, unless the response itself allows them.
		j.revalidate = stated(j.revalidate, o.StaleWhileRevalidate)
		j.ifError = stated(j.ifError, o.StaleIfError)
	}
	// What is past its lifetime already has less left.
	past := min(j.lifetime, 0)
	j.revalidate, j.ifError = max(j.revalidate+past, 0), max(j.ifError+past, 0)
}

// stated returns what a response states, or else what the options do.
func stated(d, otherwise time.Duration) time.Duration {
	if d < 0 {
		return otherwise
	}
	return d
}

// guess returns how long a response is fresh that does not say so; RFC 9111, section 4.2.2.
func (o *Options) guess(h http.Header, date time.Time) time.Duration {
	if o.Expiration > 0 {
		return o.Expiration
	}
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return 0
	}
	return min(date.Sub(modified)/10, 24*time.Hour)
}

// isHeuristic tells for which status codes a cache may guess; RFC 9110, section 15.1.
func isHeuristic(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// ageOf returns the value of Age. ok is false if that cannot be relied on: there are several,
// or it is no number.
func ageOf(h http.Header) (age time.Duration, ok bool) {
	lines := h.Values("Age")
	if len(lines) == 0 {
		return 0, true
	}
	n, err := strconv.ParseUint(lines[0], 10, 31)
	return time.Duration(n) * time.Second, err == nil && len(lines) == 1
}

func hasValidator(h http.Header) bool { return h.Get("ETag") != "" || h.Get("Last-Modified") != "" }

// varyOf returns the names of the request's headers that a response depends on, as far as it
// tells. Two tell it without saying so: a Content-Encoding was chosen by Accept-Encoding, and
// an Access-Control-Allow-Origin for one origin is no good for another.
func varyOf(h http.Header) []string {
	names := listOf(h.Values("Vary"))
	if h.Get("Content-Encoding") != "" {
		names = append(names, "Accept-Encoding")
	}
	if origin := h.Get("Access-Control-Allow-Origin"); origin != "" && origin != "*" {
		names = append(names, "Origin")
	}
	for i, name := range names {
		names[i] = http.CanonicalHeaderKey(name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// keep tells the creation for how long the response is to be kept, and what for.
func (o *Options) keep(c *dogpile.Control, p *response) (stored bool) {
	switch {
	case p.unstorable, p.panicked != nil, p.Passed && p.Status >= 500, p.Validated && o.KeepFor == 0:
		c.NoStore()
		return false
	case p.Passed:
		c.ExpireIn(passFor)
		c.StaleFor(0)
		c.StaleIfError(0)
		return false
	case p.Validated:
		c.ExpireIn(o.KeepFor)
		c.StaleFor(0)
		c.StaleIfError(0)
		return true
	}
	keep := p.IfError
	if hasValidator(p.Header) {
		keep = max(keep, o.KeepFor)
	}
	c.ExpireIn(max(p.Lifetime, 1)) // or stale from the beginning
	c.StaleFor(p.Revalidate)
	c.StaleIfError(keep)
	return true
}
