package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/internal/lifetime"
)

// checkEvery is how often a server in use is asked whether it is a master.
const checkEvery = 500 * time.Millisecond

const (
	// firstPause is for how long no client is made after one was, and lastPause
	// what that grows to while they follow each other. That is less than the pause
	// between two probes of a breaker, so that no probe falls into it.
	firstPause = 100 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// errGiven is why a client that New was given is not replaced.
var errGiven = errors.New("the client is the program's own")

// link holds the client of a core. It makes it when a call first needs it, since a
// server that is down when the program starts is no more than an outage, and
// makes another when the server turns out to be the wrong one by now.
type link struct {
	make  func() (rueidis.Client, error) // nil: the client is the program's own
	to    string                         // what it connects to
	life  *lifetime.Lifetime
	after func() // called when a client has taken the place of another

	now atomic.Pointer[client] // nil: there has been none

	mu      sync.Mutex
	attempt *attempt      // under way; nil: none
	last    error         // of the last attempt
	resume  time.Time     // there is no attempt before
	pause   time.Duration // before resume

	checked atomic.Int64 // when check has asked last, in Unix nanoseconds
}

// client is one client. Its address tells it from others.
type client struct{ rueidis.Client }

// attempt is one making of a client, for which all wait that need it.
type attempt struct {
	done   chan struct{} // closed once the others are set
	client *client
	err    error
}

// get returns the client, and makes it if there is none. Soon after an attempt has
// failed it returns the error of that.
func (l *link) get(ctx context.Context) (*client, error) {
	if c := l.now.Load(); c != nil {
		return c, nil
	}
	return l.renew(ctx, nil)
}

// renew returns the client that has taken the place of old, and makes it unless
// another caller has. It returns an error soon after the last attempt, so that a
// server that refuses everything is not flooded with connections.
func (l *link) renew(ctx context.Context, old *client) (*client, error) {
	if l.make == nil {
		return nil, errGiven
	}
	l.mu.Lock()
	if c := l.now.Load(); c != old {
		l.mu.Unlock()
		return c, nil
	}
	a := l.attempt
	if a == nil {
		if time.Now().Before(l.resume) {
			defer l.mu.Unlock()
			if l.last == nil {
				return nil, errors.New("the client is a new one")
			}
			return nil, l.last
		}
		a = &attempt{done: make(chan struct{})}
		if !l.life.Go(func() { l.run(a, old) }) {
			l.mu.Unlock()
			return nil, errClosed
		}
		l.attempt = a
	}
	l.mu.Unlock()
	select {
	case <-a.done:
		return a.client, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to %s: %w", l.to, ctx.Err())
	}
}

// run makes a client. While it does, calls go on with the old one.
func (l *link) run(a *attempt, old *client) {
	made, err := l.make()
	l.mu.Lock()
	l.attempt, l.last, a.err = nil, err, err
	if err == nil {
		a.client = &client{made}
		l.now.Store(a.client)
	}
	if now := time.Now(); err != nil || old != nil {
		if now.Sub(l.resume) > 4*lastPause { // the attempts before are long over
			l.pause = 0
		}
		l.pause = min(max(2*l.pause, firstPause), lastPause)
		l.resume = now.Add(l.pause)
	}
	l.mu.Unlock()
	close(a.done)
	if err == nil && old != nil {
		l.after()
		old.Close() // when its calls are over, or after a second
	}
}

// check asks the server, in the background, whether it is a master still, and has
// the client replaced if not. A process that only reads would not know:
//
//  1. The name of the server becomes another's, and the old master a replica.
//  2. A has connections to both by now, and writes to the new one.
//  3. B reads from its old connections what has not reached the replica yet.
//
// Which of a client's connections answers is a matter of chance, so that it may
// take some checks until B knows. What is asked for is the deletion of a key that
// nobody has: it changes nothing, and a replica refuses it.
func (l *link) check(prefix string) {
	now, last := time.Now().UnixNano(), l.checked.Load()
	if l.make == nil || now-last < int64(checkEvery) || !l.checked.CompareAndSwap(last, now) {
		return
	}
	c := l.now.Load()
	if c == nil {
		return
	}
	l.life.Go(func() {
		ctx, cancel := context.WithTimeout(l.life.Context(), checkEvery)
		defer cancel()
		cmd := one("DEL", prefix+rand.Text())
		reply, refused := rueidis.IsRedisErr(c.Do(ctx, cmd.build(c.B())).Error())
		if refused && begins(reply, "READONLY") {
			_, _ = l.renew(ctx, c) // calls that fail tell why
		}
	})
}

// close closes the client if it is not the program's own. No attempt is under way.
func (l *link) close() {
	if c := l.now.Load(); c != nil && l.make != nil {
		c.Close()
	}
}
