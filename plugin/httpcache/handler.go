package httpcache

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile"
)

// passFor is how long it is remembered that a response may not be stored. Meanwhile requests
// do not wait for each other. It bounds how long a resource goes without the cache after it
// could have been stored again.
const passFor = 10 * time.Second

// maxVariants bounds how many responses are read in search of the one for a request.
const maxVariants = 8

// cache is what the middlewares of one call of [Middleware] share.
type cache struct {
	id        string // for Cache-Status
	o         Options
	responses *dogpile.Cache[*response]
}

// handler is a handler behind a cache.
type handler struct {
	*cache
	next http.Handler
}

// ServeHTTP answers a request from the cache or by the next handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ask := wantsOf(r.Header)
	switch {
	case r.Header.Get("Upgrade") != "" || r.Method == http.MethodConnect:
		h.next.ServeHTTP(w, r) // it may take over the connection
	case !isSafe(r.Method):
		h.change(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.forward(w, r, "method")
	case ask.noStore:
		h.forward(w, r, "request")
	case takesAway(r.Header):
		h.forward(w, r, "bypass")
	case r.ContentLength != 0 || r.Header.Get("If-Match") != "" || r.Header.Get("If-Unmodified-Since") != "":
		h.forward(w, r, "bypass")
	default:
		x := &exchange{handler: h, ask: ask, resource: h.o.Key(r)}
		x.client = client{w: w, r: r, id: h.id, why: "uri-miss", altered: asksForPart(r.Header)}
		if ask.anew {
			x.why = "request"
		}
		x.read(r.Context())
	}
}

// takesAway reports whether a request names headers in Connection that are not for what is
// behind the next proxy; RFC 9110, section 7.6.1. A httputil.ReverseProxy takes them away, and
// its origin's response is not for the values that the client has sent with them.
func takesAway(h http.Header) bool {
	return slices.ContainsFunc(listOf(h.Values("Connection")), func(option string) bool {
		switch strings.ToLower(option) {
		case "close", "keep-alive", "upgrade", "te":
			return false
		}
		return true
	})
}

// isSafe is RFC 9110, section 9.2.1.
func isSafe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// exchange is a request on its way through the cache.
type exchange struct {
	*handler
	client
	ask      wants
	resource string // its key
}

// read answers a GET or a HEAD.
//
// A response that is for other values of what it depends on leads to the variant for this
// request's. That may depend on more; what is looked for then depends on all of it, so that
// each step knows more than the one before.
func (x *exchange) read(ctx context.Context) {
	var root *response // what is kept under the resource's key
	var names []string
	key, anew := x.resource, x.ask.anew
	for range maxVariants {
		x.setKey(key)
		e, err := x.find(ctx, key, root, anew)
		switch {
		case err != nil:
			x.failed(err)
			return
		case !e.Value.matches(x.r):
			if root == nil {
				root = e.Value
				x.setWhy("vary-miss")
			}
			names = union(names, e.Value.Vary)
			key = root.variantKey(x.resource, names, selected(x.r, names))
		case !x.ask.accept(&e):
			x.setWhy("request")
			anew = true
		default:
			x.answer(key, &e)
			return
		}
	}
	x.passOn()
}

// union returns the names of both, each once and in order.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// errAbsent is returned to requests for which nothing is created.
var errAbsent = errors.New("httpcache: nothing is stored")

// find returns what is kept under a key, or what the handler makes for it; anew: what is kept will
// not do. root is what is kept under the resource's key; nil: that is what is looked for.
func (x *exchange) find(ctx context.Context, key string, root *response, anew bool) (dogpile.Entry[*response], error) {
	if x.r.Method == http.MethodGet && !x.ask.onlyIfCached {
		create := func(ctx context.Context) (*response, error) { return x.create(ctx, key, root) }
		if anew {
			return x.renew(ctx, key, create)
		}
		return x.responses.GetOrCreateEntry(ctx, key, create)
	}
	if x.ask.anew {
		return dogpile.Entry[*response]{}, errAbsent
	}
	e, ok, err := x.responses.Peek(ctx, key)
	if err == nil && !(ok && x.mayUse(&e)) {
		err = errAbsent
		if ok && !e.Value.Passed {
			x.setWhy("stale")
		}
		if ok && !x.ask.accept(&e) {
			x.setWhy("request")
		}
	}
	return e, err
}

// renew has the handler make what is kept under a key. It does without [dogpile.Renew], which would
// hold for all that the handler gets from caches: a client's reload is about the page.
func (x *exchange) renew(ctx context.Context, key string, create func(context.Context) (*response, error)) (dogpile.Entry[*response], error) {
	var own atomic.Bool
	p, err := x.responses.Refresh(ctx, key, func(ctx context.Context) (*response, error) {
		own.Store(true)
		p, err := create(ctx)
		if err == nil && p.Passed {
			// What is kept for others is no worse for it.
			dogpile.Creation(ctx).NoStore()
		}
		return p, err
	})
	e := dogpile.Entry[*response]{Value: p, Created: time.Now(), From: dogpile.Waited}
	if own.Load() {
		e.From = dogpile.Created
	}
	return e, err
}

// mayUse reports whether what was found can be an answer without the handler, or leads to one.
func (x *exchange) mayUse(e *dogpile.Entry[*response]) bool {
	p := e.Value
	switch {
	case !p.matches(x.r):
		return true
	case p.Passed, p.Validated, !x.ask.accept(e):
		return false
	}
	return e.State == dogpile.Fresh || e.State == dogpile.Stale && e.Age() <= p.Lifetime+p.Revalidate
}

// accept reports whether a request may be answered with what was found. What was made for it
// always does.
func (ask *wants) accept(e *dogpile.Entry[*response]) bool {
	if e.From == dogpile.Created || e.From == dogpile.Waited || e.Value.Passed || e.Value.Validated {
		return true
	}
	if ask.anew {
		return false
	}
	return (ask.maxAge < 0 || e.Value.Age+e.Age() <= ask.maxAge) && e.Value.Lifetime-e.Age() >= ask.minFresh || ask.minFresh == 0 && ask.maxAge < 0
}

// create is the creator of a key: it runs the handler, and returns what that has made or what
// stands for it.
func (x *exchange) create(ctx context.Context, key string, root *response) (*response, error) {
	previous, _ := dogpile.Previous[*response](ctx)
	variants := newVariants()
	if root == nil && previous != nil {
		variants = previous.Variants
	}
	if previous != nil && (previous.Passed || !previous.matches(x.r)) {
		previous = nil
	}
	if previous != nil {
		x.replaceWhy("uri-miss", "stale")
	}
	if x.handedOver() != nil {
		// The creation is repeated, as its lock was lost, and this request has its response.
		dogpile.Creation(ctx).NoStore()
		return &response{Passed: true, Variants: variants}, nil
	}
	n := start(ctx, x.next, &x.o, &x.client, key, previous)
	select {
	case <-n.decided:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if x.handedOver() != n && ctx.Err() != nil {
		return nil, context.Cause(ctx) // what a handler makes of its interruption is no response
	}
	p, err := n.result()
	if err != nil {
		x.keep(err)
		return nil, err
	}
	if p.panicked != nil && !x.keep(p.panicked) {
		x.o.panicked(x.r, p.panicked)
	}
	p.Variants = variants
	status := cacheStatus{stored: x.o.keep(dogpile.Creation(ctx), p)}
	if n.confirmed {
		status.status = http.StatusNotModified
	}
	x.setStatus(status)
	return p, nil
}

// answer writes what was found, or has the handler write a response.
func (x *exchange) answer(key string, e *dogpile.Entry[*response]) {
	if run := x.leave(); run != nil {
		run.wait()
		return
	}
	p := e.Value
	past := e.From == dogpile.StoodIn && e.Age() > p.Lifetime+p.IfError
	lost := x.failure()
	if lost != nil && p.panicked == nil && e.From != dogpile.StoodIn {
		x.o.panicked(x.r, lost)
	}
	switch {
	case p.panicked != nil:
		repanic(p.panicked)
	case p.Passed:
		x.pass()
	case p.unstorable && e.From != dogpile.Created:
		x.shareFailure(p)
	case p.unstorable && x.altered && p.Status < 400:
		x.pass() // it asks for a part of what is not whole
	case p.Validated && e.From != dogpile.Created:
		x.validate(key, p)
	case past && lost != nil:
		x.failed(lost)
	case past:
		// It was kept to be asked about, and the handler took too long.
		x.refuse(http.StatusGatewayTimeout)
	default:
		x.write(e)
	}
}

// failed answers a request for which nothing was found or made.
func (x *exchange) failed(err error) {
	if run := x.leave(); run != nil {
		run.wait()
		return
	}
	var origin *originError
	var panicked *dogpile.PanicError
	switch {
	case x.r.Context().Err() != nil:
		if lost := x.failure(); lost != nil {
			x.o.panicked(x.r, lost)
		}
		// Mostly nobody is there to read it. Where an outer handler or the server's end has
		// ended the context somebody is, and nothing at all would be an empty 200.
		if errors.Is(x.r.Context().Err(), context.DeadlineExceeded) {
			x.refuse(http.StatusGatewayTimeout)
		} else {
			x.refuse(http.StatusServiceUnavailable)
		}
	case errors.As(err, &origin):
		switch {
		case origin.client == &x.client:
			x.write(&dogpile.Entry[*response]{Value: origin.response, Created: time.Now(), From: dogpile.Created})
		case origin.shared:
			x.shareFailure(origin.response)
		default:
			x.pass()
		}
	case errors.As(err, &panicked):
		repanic(panicked)
	case errors.Is(err, dogpile.ErrCreateTimeout):
		// The handler hangs. Those who have waited for it would hang in it one by one.
		x.refuse(http.StatusGatewayTimeout)
	case x.ask.onlyIfCached:
		x.refuse(http.StatusGatewayTimeout) // RFC 9111, section 5.2.1.7
	default:
		x.pass() // the cache fails, or is not configured: the application does not
	}
}

// passOn has the handler answer, unless a run does already.
func (x *exchange) passOn() {
	if run := x.leave(); run != nil {
		run.wait()
		return
	}
	x.pass()
}

// shareFailure answers with what another client was told of a failure, in as far as it is not
// for that client: the status, and when to ask again. What may not be shared at all, as a body
// that is not whole, is asked for again.
func (x *exchange) shareFailure(p *response) {
	if p.Status < 500 {
		x.pass()
		return
	}
	if after := p.Header.Get("Retry-After"); after != "" {
		x.w.Header().Set("Retry-After", after)
	}
	cacheStatus{forwarded: x.why, collapsed: true}.add(x.w.Header(), x.id)
	http.Error(x.w, http.StatusText(p.Status), p.Status)
}

// pass has the handler answer, with a copy of the request: a renewal in the background may be
// about to copy it too, while handlers change theirs.
func (x *exchange) pass() { x.forward(x.w, x.r.Clone(x.r.Context()), x.why) }

func (x *exchange) refuse(status int) {
	cacheStatus{forwarded: x.why}.add(x.w.Header(), x.id)
	http.Error(x.w, http.StatusText(status), status)
}

// repanic panics for the recovery of the server or of a middleware: with the handler's panic, which
// has its stack, or as the handler has done to abort a response.
func repanic(err error) {
	if errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
	panic(err)
}
