package httpcache

import (
	"net/http"
	"sync"
)

// client is a request and where its response goes.
type client struct {
	w  http.ResponseWriter
	r  *http.Request
	id string // the cache's, for Cache-Status
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

// replaceWhy sets why unless there is another reason than the one that is named, or the client
// has left, which reads it without the mutex then.
func (c *client) replaceWhy(old, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.left && c.why == old {
		c.why = why
	}
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
// it was asked for. It reports false if the client has left or waits for something else.
func (c *client) take(n *run) (why string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left || c.altered || c.run != nil || c.key != n.key {
		return "", false
	}
	c.run = n
	return c.why, true
}
