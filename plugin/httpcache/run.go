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

// run is one run of the handler, in a goroutine of its own, for a creation. It keeps the
// response until that turns out to be not worth storing, and is handed over to the client
// then: what comes is written to it directly, while the creation ends, so that nobody waits
// for a client that reads slowly.
//
// It is the handler's http.ResponseWriter.
type run struct {
	o      *Options
	r      *http.Request // the handler's, which may change it
	asked  *http.Request // as the client has sent it: what the response is judged and stored by
	client *client
	key    string // of what is created

	creation context.Context
	detach   func() bool // lets the run outlive its creation
	release  func() bool // ends that the client's leaving cancels it; nil: it does not

	cancel context.CancelCauseFunc
	told   func(http.Header) // tells the creation of the response's tags

	previous *response // that the handler is asked about, or which stands in if it fails; nil: there is none

	// They belong to the handler's goroutine until decided is closed, and after it if the
	// run was handed over.
	header    http.Header
	status    int       // 0: no header has been written
	at        time.Time // when that was
	confirmed bool      // the response before holds
	failed    bool      // the response before stands in, if it is still there
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
	}
	n.detach = context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	creation, tags := dogpile.Creation(ctx), o.Tags(asked, nil)
	if previous != nil {
		// The next one is likely to have the same tags, of which it is better to know before.
		tags = slices.Concat(tags, o.Tags(asked, previous.Header))
	}
	creation.Tag(ctx, tags...)
	n.told = func(h http.Header) {
		creation.TagRead(ctx, slices.DeleteFunc(slices.Clone(o.Tags(asked, h)), func(tag string) bool {
			return slices.Contains(tags, tag) // it has the version from before the handler ran
		})...)
	}
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
	if n.to != nil {
		n.trailers()
	}
	n.returned = true
}

// trailers hands over what the handler has set after the header, where it may.
func (n *run) trailers() {
	announced := listOf(n.sent.Values("Trailer"))
	for name, values := range n.header {
		if strings.HasPrefix(name, http.TrailerPrefix) || slices.ContainsFunc(announced, func(s string) bool {
			return http.CanonicalHeaderKey(s) == name
		}) {
			n.to.Header()[name] = values
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
	if status < 100 || status > 999 {
		panic("httpcache: the handler has written status " + strconv.Itoa(status)) // a server does too
	}
	if n.status != 0 || status < 200 || n.over.Load() {
		return // informational responses are not kept
	}
	n.at = time.Now()
	n.status, n.sent = status, n.header.Clone()
	if status == http.StatusNotModified && n.conditional() {
		n.confirm()
		return
	}
	n.judged = n.o.judge(n.asked, status, n.sent, n.at)
	if n.failed = n.fails(); n.failed {
		return // the response before stands in for whatever comes
	}
	length, err := strconv.ParseInt(n.sent.Get("Content-Length"), 10, 64)
	if n.judged.verdict == pass || err == nil && length > n.o.MaxBody {
		n.handOver()
		return
	}
	if n.judged.verdict == store {
		n.told(n.sent)
	}
}

// confirm takes a 304: the response before goes on, with what the handler says of it now. What
// it says may be for this client alone, as is a cookie which it does not call fresh itself.
func (n *run) confirm() {
	cookie := len(n.sent.Values("Set-Cookie")) > 0 && !n.o.judge(n.asked, n.previous.Status, n.sent, n.at).explicit
	n.sent, n.status = n.previous.updated(n.sent, n.at), n.previous.Status
	n.confirmed = true
	n.judged = n.o.judge(n.asked, n.status, n.sent, n.at)
	if n.judged.verdict == store && !cookie {
		n.told(n.sent)
		return
	}
	if n.handOver(); n.to != nil {
		_, _ = n.to.Write(n.previous.Body) // the client has gone if that fails
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
		return n.standsIn() && n.judged.verdict != store
	}
	return false
}

// standsIn reports whether the response before may be served if the handler fails now. It is
// also kept, and for longer, to be asked about.
func (n *run) standsIn() bool {
	p := n.previous
	return p != nil && p.IfError > 0 && time.Since(p.Made) <= p.Lifetime+p.IfError
}

// Write keeps p, or writes it to the client that the run was handed over to.
func (n *run) Write(p []byte) (int, error) {
	if n.over.Load() {
		return 0, errGone
	}
	if n.status == 0 {
		n.WriteHeader(http.StatusOK)
	}
	if n.confirmed {
		return 0, http.ErrBodyNotAllowed
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
	why, ok := "", n.detach() // what a handler makes of being told to end is no response
	if ok {
		why, ok = n.client.take(n)
	}
	if !ok {
		n.abandoned = true
		n.cancel(errGone)
		n.decide()
		return
	}
	n.release = context.AfterFunc(n.client.r.Context(), func() { n.cancel(context.Cause(n.client.r.Context())) })
	n.decide()
	n.to = n.client.w
	for which, set := range n.deadlines {
		if set != nil {
			_ = n.control(which, set)
		}
	}
	addHeader(n.to.Header(), n.sent)
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
	client   *client // whose it is
	shared   bool    // others may be told of it
}

// Error names the status.
func (e *originError) Error() string {
	return "httpcache: the handler has answered with status " + strconv.Itoa(e.response.Status)
}

// result returns what was made, once that is decided. A response that cannot be stored is
// marked as passed.
func (n *run) result() (*response, error) {
	vary := append(varyOf(n.sent), hasOrigin)
	if n.o.canonical {
		vary = append(vary, asSent)
	}
	if n.judged.authorized {
		vary = append(vary, hasAuthorization)
	}
	p := &response{Status: n.status, Vary: vary, Values: selected(n.asked, vary)}
	if n.abandoned || n.client.handedOver() == n {
		p.Passed = true
		return p, nil
	}
	if n.panicked != nil {
		if p.panicked = n.panicked; n.standsIn() {
			return nil, n.panicked
		}
		return p, nil
	}
	p.Header, p.Body, p.Made = storable(n.sent, n.at), n.body.Bytes(), time.Now()
	if n.confirmed {
		p.Body = n.previous.Body
	}
	if _, is := p.Header["Content-Type"]; !is && len(p.Body) > 0 && p.Header.Get("Content-Encoding") == "" {
		// A server guesses, but from what it writes, which is nothing in answer to a HEAD.
		p.Header.Set("Content-Type", http.DetectContentType(p.Body))
	}
	took := p.Made.Sub(n.at)
	p.Age, p.Lifetime = n.judged.age+took, n.judged.lifetime-took
	p.Revalidate, p.IfError = n.judged.revalidate, n.judged.ifError
	if n.failed {
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
