package httpcache

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/felixge/httpsnoop"
)

// forward has the handler answer a request by itself. why is told in Cache-Status.
func (h *handler) forward(w http.ResponseWriter, r *http.Request, why string) {
	x := beforeHeader(w, func(int) bool {
		cacheStatus{forwarded: why}.add(w.Header(), h.id)
		return true
	})
	h.next.ServeHTTP(x.ResponseWriter, r)
	x.end()
}

// change has the handler answer a request of an unsafe method. If it does not fail, what is
// cached for the resources that it may have changed is deleted before the client can know;
// RFC 9111, section 4.4.
func (h *handler) change(w http.ResponseWriter, r *http.Request) {
	of, key := resourceOf(r), h.o.Key(r) // the handler may change the request
	var stale []string
	drop := func() {
		// The client may have left, and the change was made all the same.
		if err := h.responses.Delete(context.WithoutCancel(r.Context()), stale...); err != nil {
			h.o.Error(r, err)
		}
	}
	x := beforeHeader(w, func(status int) bool {
		cacheStatus{forwarded: "method"}.add(w.Header(), h.id)
		if status < 400 {
			stale = h.changed(of, key, w.Header())
			drop()
		}
		return true
	})
	defer func() {
		// 1. The handler writes the header.  2. Another request stores the old page.  3. The
		// handler makes the change, in a deferred Commit say.
		if stale != nil {
			drop()
		}
	}()
	h.next.ServeHTTP(x.ResponseWriter, r)
	if !x.seen {
		x.end()
		stale = nil // all was done before
	}
}

// resourceOf returns the absolute URL that a client has asked for.
func resourceOf(r *http.Request) *url.URL {
	u := *r.URL
	if sent, err := url.ParseRequestURI(r.RequestURI); err == nil {
		u = *sent // whatever was made of it since
	}
	u.Scheme, u.Host = schemeOf(r), r.Host
	return &u
}

// changed returns the keys of what a request may have changed: key, which is its own resource's,
// and those of the URLs that the response names, on the same host.
func (h *handler) changed(own *url.URL, key string, header http.Header) []string {
	keys := []string{key}
	for _, name := range []string{"Location", "Content-Location"} {
		to := header.Get(name)
		if to == "" {
			continue
		}
		u, err := own.Parse(to)
		if err != nil {
			continue
		}
		if own.Scheme == "http" && u.Scheme == "https" {
			u.Scheme = own.Scheme // a proxy before this server may end TLS
			u.Host = strings.TrimSuffix(u.Host, ":443")
		}
		if u.Scheme == own.Scheme && canonicalHost(u.Scheme, u.Host) == canonicalHost(own.Scheme, own.Host) {
			keys = append(keys, h.o.Key(requestFor(u)))
		}
	}
	return keys
}

// validate asks the handler whether a stored response still holds, for this request alone. If
// it does not, the response is deleted: the next request stores the new one under a lock.
func (x *exchange) validate(key string, p *response) {
	if x.altered {
		x.forward(x.w, x.r.Clone(x.r.Context()), "stale") // it asks on a condition of its own
		return
	}
	r := x.r.Clone(x.r.Context())
	for name, values := range p.validators() {
		r.Header[name] = values
	}
	holds := false
	y := beforeHeader(x.w, func(status int) bool {
		h := x.w.Header()
		if holds = status == http.StatusNotModified; holds {
			maps.Copy(h, p.updated(h, time.Now())) // h is part of it already
			cacheStatus{forwarded: "stale", status: status}.add(h, x.id)
			return false
		}
		cacheStatus{forwarded: "stale"}.add(h, x.id)
		if status < 500 {
			if err := x.responses.Delete(context.WithoutCancel(r.Context()), key); err != nil {
				x.o.Error(r, err)
			}
		}
		return true
	})
	x.next.ServeHTTP(y.ResponseWriter, r)
	if y.end(); holds {
		writeBody(x.w, x.r, p)
	}
}

// watched is a ResponseWriter that calls a function once, before the header is written. It has
// the optional methods of the one it wraps.
type watched struct {
	http.ResponseWriter
	before func(status int) (write bool)
	seen   bool
	write  bool
}

// beforeHeader returns w, watched. Where before returns false neither the header nor the body is
// written.
func beforeHeader(w http.ResponseWriter, before func(status int) (write bool)) *watched {
	x := &watched{before: before}
	x.ResponseWriter = httpsnoop.Wrap(w, httpsnoop.Hooks{
		WriteHeader: func(next httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
			return func(status int) {
				if status < 200 && status != http.StatusSwitchingProtocols || x.header(status) {
					next(status)
				}
			}
		},
		Write: func(next httpsnoop.WriteFunc) httpsnoop.WriteFunc {
			return func(p []byte) (int, error) {
				if !x.header(http.StatusOK) {
					return len(p), nil
				}
				return next(p)
			}
		},
		ReadFrom: func(next httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
			return func(src io.Reader) (int64, error) {
				if !x.header(http.StatusOK) {
					return io.Copy(io.Discard, src)
				}
				return next(src)
			}
		},
		Flush: func(next httpsnoop.FlushFunc) httpsnoop.FlushFunc {
			return func() {
				if x.header(http.StatusOK) {
					next()
				}
			}
		},
	})
	if _, flushes := w.(http.Flusher); !flushes {
		x.ResponseWriter = flushed{x.ResponseWriter, x}
	}
	return x
}

// flushed is a watched writer that has no Flush. An http.ResponseController looks for one
// in what that wraps, which would write the header unseen.
type flushed struct {
	http.ResponseWriter
	x *watched
}

// FlushError is what an http.ResponseController calls.
func (f flushed) FlushError() error {
	if !f.x.header(http.StatusOK) {
		return nil
	}
	return http.NewResponseController(f.ResponseWriter).Flush()
}

// Unwrap is for the other methods of an http.ResponseController.
func (f flushed) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// header is called before each step of writing, with the status that it implies, and reports
// whether it is to be taken.
func (x *watched) header(status int) bool {
	if !x.seen {
		x.seen = true
		x.write = x.before(status)
	}
	return x.write
}

// end is called when the handler has returned. One that has written nothing has answered with
// 200.
func (x *watched) end() { x.header(http.StatusOK) }
