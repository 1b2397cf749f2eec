package httpcache

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile"
)

// errGone ends a run of which nobody wants to see more.
var errGone = errors.New("httpcache: nobody waits for this response")

// client is a request and where its response goes.
type client struct {
	w  http.ResponseWriter
	r  *http.Request
	id any // the cache's, for Cache-Status
	// altered: it asks for a part of the response, or on a condition. A run that is handed
	// over would write the whole of it.
	altered bool

	mu     sync.Mutex
	key    string      // of what it waits for
	why    string      // it is forwarded to the handler, in words of RFC 9211
	status cacheStatus // of what its creator has made
	left   bool        // it has got something else, or has given up
	lost   error       // how its run has failed, which the client is told of unless it gets something else
	run    *run        // that has been handed over to it
}

func (c *client) setKey(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key = key
}

func (c *client) setWhy(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why = why
}

func (c *client) setStatus(s cacheStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = s
}

// made returns the status of what the client's creator has made.
func (c *client) made() cacheStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.forwarded = c.why
	return s
}

// handedOver returns the run that writes to the client; nil: there is none.
func (c *client) handedOver() *run {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.run
}

// leave tells that the client will not be written to by a run, unless one does already: that
// is returned. From then on nobody else sets why.
func (c *client) leave() *run {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
	return c.run
}

// keep keeps how the client's run has failed, and reports false if the client has left.
func (c *client) keep(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = err
	return !c.left
}

// failure returns what keep has kept.
func (c *client) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

// take hands a run over to the client, which waits for its end from now on, and returns why
// it was asked for. It reports false if the client has left or waits for something else, or if the creation has ended: what
// a handler makes of its interruption is no response, and the creation may be repeated.
func (c *client) take(n *run) (why string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left || c.altered || c.run != nil || c.key != n.key || n.creation.Err() != nil {
		return "", false
	}
	c.run = n
	return c.why, true
}

// run is one run of the handler, in a goroutine of its own, for a creation. It keeps the
// response until that turns out to be not worth storing, and is handed over to the client
// then: what comes is written to it directly, while the creation ends, so that nobody waits
// for a client that reads slowly.
//
// It is the handler's http.ResponseWriter.
type run struct {
	o      *Options
	r      *http.Request // as the handler sees it, who may change it
	asked  *http.Request // as the client has made it
	client *client
	key    string // of what is created

	creation context.Context
	detach   func() bool // lets the run outlive its creation
	release  func() bool // ends that the client's leaving cancels it; nil: it does not

	cancel context.CancelCauseFunc
	tag    func(http.Header)

	previous *response // that the handler is asked about, or which stands in if it fails; nil: there is none
	standsIn bool      // it may

	// They belong to the handler's goroutine until decided is closed, and after it if the
	// run was handed over.
	header    http.Header
	status    int       // 0: no header has been written
	at        time.Time // when that was
	confirmed bool      // the response before holds
	sent      http.Header
	judged    judgement
	body      bytes.Buffer
	to        http.ResponseWriter                     // the client's, once it has been handed over
	deadlines [2]func(*http.ResponseController) error // that the handler has set last, of reading and writing
	abandoned bool
	returned  bool
	panicked  *dogpile.PanicError

	decided chan struct{} // closed when the response is complete, handed over or abandoned
	once    sync.Once
	over    atomic.Bool   // the handler has returned: what its goroutines go on writing would reach another response
	ended   chan struct{} // closed when the handler has returned
}

// start runs a handler with the request of a client, changed for the cache: for the whole
// response, or on the condition that the previous one does not hold any more. ctx is the
// creation's, and previous may be nil.
func start(ctx context.Context, next http.Handler, o *Options, c *client, key string, previous *response) *run {
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	asked, r := c.r.Clone(own), c.r.Clone(own)
	r.Body = http.NoBody
	for _, name := range partial {
		r.Header.Del(name)
	}
	n := &run{
		o: o, r: r, asked: asked, client: c, key: key, creation: ctx, cancel: cancel, header: make(http.Header), previous: previous,
		decided: make(chan struct{}), ended: make(chan struct{}),
	}
	if previous != nil {
		for name, values := range previous.validators() {
			r.Header[name] = values
		}
		n.standsIn = previous.IfError > 0
	}
	n.detach = context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	n.tag = func(h http.Header) { dogpile.Creation(ctx).Tag(ctx, o.Tags(asked, h)...) }
	n.tag(nil)
	go n.serve(next)
	return n
}

// partial are the headers by which a request asks for less than a whole response.
var partial = []string{"Range", "If-Range", "If-None-Match", "If-Modified-Since"}

func (n *run) serve(next http.Handler) {
	defer n.finish()
	next.ServeHTTP(n, n.r)
	if n.status == 0 {
		n.WriteHeader(http.StatusOK)
	}
	n.returned = true
	if n.to != nil {
		copyTrailers(n.to.Header(), n.header)
	}
}

// copyTrailers sets those of src that dst has announced, and those with a name that says so.
func copyTrailers(dst, src http.Header) {
	for _, name := range listOf(dst.Values("Trailer")) {
		if values, ok := src[http.CanonicalHeaderKey(name)]; ok {
			dst[http.CanonicalHeaderKey(name)] = values
		}
	}
	for name, values := range src {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			dst[name] = values
		}
	}
}

// finish is deferred by serve, so that it also sees panics and runtime.Goexit.
func (n *run) finish() {
	n.over.Store(true)
	if v := recover(); v != nil {
		n.panicked = &dogpile.PanicError{Value: v, Stack: debug.Stack()}
	} else if !n.returned {
		n.panicked = &dogpile.PanicError{Value: errNoReturn}
	}
	if n.panicked != nil && n.to == nil && (n.abandoned || n.creation.Err() != nil) {
		n.o.panicked(n.asked, n.panicked)
	}
	if n.release != nil {
		n.release() // the context may live on
	}
	n.decide()
	close(n.ended)
	n.cancel(nil)
}

// panicked tells of a failure that reaches no client, if it is a panic. To abort a response is
// none.
func (o *Options) panicked(r *http.Request, err error) {
	var panicked *dogpile.PanicError
	if errors.As(err, &panicked) && !errors.Is(err, http.ErrAbortHandler) {
		o.Error(r, err)
	}
}

func (n *run) decide() { n.once.Do(func() { close(n.decided) }) }

// Header returns the header that WriteHeader is going to write.
func (n *run) Header() http.Header { return n.header }

// WriteHeader takes the status and the header as they are now.
func (n *run) WriteHeader(status int) {
	if n.status != 0 || status < 200 || n.over.Load() {
		return // informational responses are not kept
	}
	n.at = time.Now()
	n.status, n.sent = status, n.header.Clone()
	if status == http.StatusNotModified && n.conditional() {
		// The response before goes on, with what the handler says of it now.
		n.sent, n.status = n.previous.updated(n.sent, n.at), n.previous.Status
		n.confirmed = true
		n.judged = n.o.judge(n.asked, n.status, n.sent, n.at)
		n.tag(n.sent)
		return
	}
	n.judged = n.o.judge(n.asked, status, n.sent, n.at)
	if n.fails() {
		return // the response before stands in for whatever comes
	}
	length, err := strconv.ParseInt(n.sent.Get("Content-Length"), 10, 64)
	if n.judged.verdict == pass || err == nil && length > n.o.MaxBody {
		n.handOver()
		return
	}
	if n.judged.verdict == store {
		n.tag(n.sent)
	}
}

// conditional reports whether the handler was asked on a condition of the cache.
func (n *run) conditional() bool {
	return n.previous != nil && hasValidator(n.previous.Header)
}

// fails reports whether the origin has failed, and the response before may stand in; RFC 5861,
// section 4.
func (n *run) fails() bool {
	switch n.status {
	case 500, 502, 503, 504:
		return n.standsIn && n.judged.verdict != store
	}
	return false
}

// Write keeps p, or writes it to the client that the run was handed over to.
func (n *run) Write(p []byte) (int, error) {
	if n.over.Load() {
		return 0, errGone
	}
	if n.status == 0 {
		n.WriteHeader(http.StatusOK)
	}
	if n.to == nil && !n.abandoned && int64(n.body.Len()+len(p)) > n.o.MaxBody {
		n.handOver()
	}
	switch {
	case n.abandoned:
		return 0, errGone
	case n.to != nil:
		return n.to.Write(p)
	}
	return n.body.Write(p)
}

// FlushError writes what is under way to the client that the run was handed over to. What is
// kept has nobody to be flushed to.
func (n *run) FlushError() error {
	if n.over.Load() {
		return errGone
	}
	if n.status == 0 {
		n.WriteHeader(http.StatusOK)
	}
	if n.to == nil {
		return nil
	}
	return http.NewResponseController(n.to).Flush()
}

// SetReadDeadline sets that of the client's connection once the run is handed over to it. What is
// kept is not written by the handler, and needs none.
func (n *run) SetReadDeadline(at time.Time) error {
	return n.control(0, func(c *http.ResponseController) error { return c.SetReadDeadline(at) })
}

// SetWriteDeadline is like SetReadDeadline.
func (n *run) SetWriteDeadline(at time.Time) error {
	return n.control(1, func(c *http.ResponseController) error { return c.SetWriteDeadline(at) })
}

func (n *run) control(which int, set func(*http.ResponseController) error) error {
	if n.to != nil {
		return set(http.NewResponseController(n.to))
	}
	n.deadlines[which] = set
	return nil
}

// Flush is FlushError for handlers that look for an http.Flusher.
func (n *run) Flush() { _ = n.FlushError() }

// handOver ends the creation. What has come so far, and what is to come, goes to the client,
// or to nobody if that has left.
//
//  1. The run takes the client.  2. The creation ends, and with it its context, which the
//     handler's was detached from before.  3. The client's goroutine gets the creation's
//     result, finds the run and waits for its end: until then its ResponseWriter is valid.
func (n *run) handOver() {
	why, ok := n.client.take(n)
	if !ok {
		n.abandoned = true
		n.cancel(errGone)
		n.decide()
		return
	}
	n.detach()
	n.release = context.AfterFunc(n.client.r.Context(), func() { n.cancel(context.Cause(n.client.r.Context())) })
	n.decide()
	n.to = n.client.w
	for which, set := range n.deadlines {
		if set != nil {
			_ = n.control(which, set)
		}
	}
	copyHeader(n.to.Header(), n.sent)
	cacheStatus{forwarded: why}.add(n.to.Header(), n.client.id)
	n.to.WriteHeader(n.status)
	if n.body.Len() > 0 {
		_, _ = n.to.Write(n.body.Bytes()) // the next one fails too
		n.body = bytes.Buffer{}
	}
}

// wait waits for the end of a run that was handed over, and panics if the handler has.
func (n *run) wait() {
	<-n.ended
	if n.panicked != nil {
		repanic(n.panicked)
	}
}

// errNoReturn is that of a handler that has called runtime.Goexit.
var errNoReturn = errors.New("httpcache: the handler did not return")

// originError is a response that tells of a failure, where a response before may stand in.
type originError struct {
	response *response
	client   *client // that it was made for
	shared   bool    // others may have it
}

func (e *originError) Error() string {
	return "httpcache: the handler has answered with status " + strconv.Itoa(e.response.Status)
}

// result returns what was made, once that is decided. A response that cannot be stored is
// marked as passed.
func (n *run) result() (*response, error) {
	vary := append(varyOf(n.sent), hasOrigin)
	if n.judged.authorized {
		vary = append(vary, hasAuthorization)
	}
	p := &response{Status: n.status, Vary: vary, Values: selected(n.asked, vary)}
	if n.abandoned || n.client.handedOver() == n {
		p.Passed = true
		return p, nil
	}
	if n.panicked != nil {
		if p.panicked = n.panicked; n.standsIn {
			return nil, n.panicked
		}
		return p, nil
	}
	p.Header, p.Body = storable(n.sent, n.at), n.body.Bytes()
	if n.confirmed {
		p.Body = n.previous.Body
	}
	took := time.Since(n.at)
	p.Age, p.Lifetime = n.judged.age+took, n.judged.lifetime-took
	p.Revalidate, p.IfError = n.judged.revalidate, n.judged.ifError
	p.personal = n.judged.verdict == share && n.asked.Header.Get("Cookie") != ""
	if n.fails() {
		return nil, &originError{p, n.client, n.judged.verdict == share}
	}
	p.unstorable = n.judged.verdict != store || !n.whole()
	p.Validated = p.Lifetime <= 0 && p.Revalidate == 0 && hasValidator(p.Header)
	return p, nil
}

// whole reports whether the body is as long as the header says.
func (n *run) whole() bool {
	length := n.sent.Get("Content-Length")
	return n.confirmed || length == "" || length == strconv.Itoa(n.body.Len())
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

// copyHeader sets what src has. Outer handlers may have set more: of what handlers add to
// without a look at what is there, theirs remains.
func copyHeader(dst, src http.Header) {
	for name, values := range src {
		if name == "Vary" || name == "Set-Cookie" {
			dst[name] = append(slices.Clip(dst[name]), values...)
			continue
		}
		dst[name] = append([]string(nil), values...)
	}
}
