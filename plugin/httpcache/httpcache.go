// Package httpcache caches the responses of an http.Handler in a region, by the rules for
// shared caches of RFC 9111. One handler runs for each response that is missing or has
// become stale, in this process or any other of the fleet; everybody else waits for it, or
// goes on getting the response before, as far as its Cache-Control allows.
//
//	pages := dogpile.NewRegion("pages")
//	...
//	http.ListenAndServe(addr, httpcache.Middleware(pages, nil)(mux))
//
// The handler decides with the usual headers: Cache-Control (also stale-while-revalidate
// and stale-if-error of RFC 5861), Expires, Vary, ETag, Last-Modified. What says nothing of
// its freshness is not cached. Each response carries a Cache-Status header, RFC 9211, that
// tells what has happened.
//
// A response that the handler makes from cached functions inherits their tags: it goes when
// they do. See [dogpile.Control.Tag].
package httpcache

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile"
)

// Options says what the middleware does beyond RFC 9111. The zero value is a shared cache
// that does what that says.
type Options struct {
	// Key returns the key of the resource that a request is for. Requests with one key get
	// the same response, unless it has a Vary header, whatever their methods are. It is
	// called once for each request, from many goroutines. nil: the scheme, the host, the
	// path and the query in canonical form, with the query's parameters sorted by name;
	// handlers that look at the order of different names need a Key. Requests with the
	// default key whose hosts or paths are spelled differently do not share responses.
	Key func(*http.Request) string

	// MaxBody is the longest body, in bytes, that is cached. Longer ones are handed to the
	// client as they come. 0: 1 MiB; it cannot be negative.
	MaxBody int64

	// Tags returns the tags of a response. It is called before the handler runs, with a nil
	// header and with that of the response before if there is one, and with the header that
	// the handler writes. An invalidation by another process, while the handler runs, is
	// overlooked for tags that only the last call returns; see [dogpile.Control.TagRead].
	// nil: what the response's Cache-Tag header lists, separated by commas.
	Tags func(*http.Request, http.Header) []string

	// Expiration is how long a response is fresh that says nothing of it and has a status
	// for which RFC 9111 allows a guess, 200 and 404 among them. 0: a tenth of the time
	// since its Last-Modified, up to a day, and not at all without one.
	Expiration time.Duration

	// StaleWhileRevalidate and StaleIfError count for responses that do not have the
	// directive of that name, unless they have must-revalidate, proxy-revalidate, s-maxage
	// or no-cache. 0: such responses are not served while they are stale.
	StaleWhileRevalidate, StaleIfError time.Duration

	// KeepFor is how long a stale response with an ETag or a Last-Modified is kept, so that
	// the handler can be asked whether it still holds. 0: a day; dogpile.Never: not at all.
	KeepFor time.Duration

	// Error is told what went wrong where no client can be told: a response that an unsafe
	// method should have deleted may be served on, or a *dogpile.PanicError of a handler that
	// nobody has waited for. It is called from many goroutines. nil: a record of
	// slog.Default(), at error level.
	Error func(*http.Request, error)

	canonical bool // Key was nil, and is canonicalKey
}

const (
	defaultMaxBody = 1 << 20
	defaultKeepFor = 24 * time.Hour
)

// complete returns the options with the defaults in place. It panics if one is at fault.
func (o *Options) complete() Options {
	var c Options
	if o != nil {
		c = *o
	}
	for name, d := range map[string]time.Duration{
		"MaxBody": time.Duration(c.MaxBody), "Expiration": c.Expiration,
		"StaleWhileRevalidate": c.StaleWhileRevalidate, "StaleIfError": c.StaleIfError,
	} {
		if d < 0 {
			panic("httpcache: Options." + name + " is negative")
		}
	}
	if c.KeepFor < dogpile.Never {
		panic("httpcache: Options.KeepFor is negative")
	}
	if c.Key == nil {
		c.Key, c.canonical = canonicalKey, true
	}
	if c.Tags == nil {
		c.Tags = cacheTags
	}
	if c.Error == nil {
		c.Error = func(r *http.Request, err error) {
			slog.ErrorContext(r.Context(), "httpcache", "method", r.Method, "path", r.URL.Path, "error", err)
		}
	}
	c.MaxBody = cmp.Or(c.MaxBody, defaultMaxBody)
	c.KeepFor = max(cmp.Or(c.KeepFor, defaultKeepFor), 0)
	return c
}

// cacheTags returns what the Cache-Tag header lists.
func cacheTags(_ *http.Request, h http.Header) []string { return listOf(h.Values("Cache-Tag")) }

// listOf returns the elements of a list that a header holds in one line or several.
func listOf(lines []string) []string {
	var list []string
	for _, line := range lines {
		for element := range strings.SplitSeq(line, ",") {
			if element = strings.Trim(element, " \t"); element != "" {
				list = append(list, element)
			}
		}
	}
	return list
}

// Middleware returns a middleware that caches responses in r, which may be configured later:
// until then every request reaches the handler. Handlers that answer one URL differently
// need a region, or an Options.Key, each. It panics if an option is at fault. o may be nil.
//
// The handler runs with a copy of the request of one of the clients that wait. Its context
// has the values of that request's, and goes on when that client leaves; it ends with
// [dogpile.Options.CreateTimeout]. A response that is not stored, because it may not be or is
// too long, is handed to that client while the handler writes it, and the others have the
// handler run for themselves. All who have waited for a handler that panics panic with a
// *[dogpile.PanicError], or with [http.ErrAbortHandler].
//
// Requests other than GET and HEAD, those with a body, an Upgrade or an If-Match, and those
// with "Cache-Control: no-store" reach the handler as they are. A response to an unsafe
// method, PUT say, that is not an error deletes what is cached for its URL, before the client
// sees it; also for the URLs of Location and Content-Location on the same host.
func Middleware(r *dogpile.Region, o *Options) func(http.Handler) http.Handler {
	c := &cache{id: identifier(r.Name()), o: o.complete()}
	c.responses = dogpile.NewCache[*response](r, &dogpile.CacheOptions[*response]{
		Codec: codec{}, Schema: schema, Name: "http",
	})
	return func(next http.Handler) http.Handler { return &handler{c, next} }
}

// Delete removes the responses that are cached for URLs, in all variants. Once it has returned
// no request that begins is answered with what a handler has begun to make before. r and o
// are those of the [Middleware]. A URL is absolute: "https://shop.example/products/42?page=2",
// with its host in ASCII. With any that is not, nothing is deleted. http and https are one here,
// as a server behind a proxy that ends TLS does not know of it; the host is the one that the
// server gets. Errors name the URLs.
func Delete(ctx context.Context, r *dogpile.Region, o *Options, urls ...string) error {
	c := o.complete()
	var keys []string
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err == nil && (u.Scheme == "" || u.Host == "") {
			err = fmt.Errorf("%q is not an absolute URL", raw)
		}
		if err != nil {
			return fmt.Errorf("httpcache: delete: %w", err)
		}
		// A proxy before the server may end TLS: it is the server's scheme that is in the key.
		plain, secure := *u, *u
		plain.Scheme, secure.Scheme = "http", "https"
		if strings.EqualFold(u.Scheme, "https") {
			plain.Host = strings.TrimSuffix(u.Host, ":443")
		}
		keys = append(keys, c.Key(requestFor(&plain)), c.Key(requestFor(&secure)))
	}
	return r.Delete(ctx, keys...)
}
