package dashboard

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// fault is something that has failed, once or often.
type fault struct {
	Op, Key, Text string    // of the last time
	cause         string    // what the error wraps last
	At            time.Time // the last time
	Times         int
}

// causeOf returns what err wraps last. Errors of one cause may differ around it, by the key
// say, or since when a breaker is open.
func causeOf(err error) string {
	for {
		inner := errors.Unwrap(err)
		if all, joined := err.(interface{ Unwrap() []error }); joined && len(all.Unwrap()) > 0 {
			inner = all.Unwrap()[0]
		}
		if inner == nil {
			return cut(err.Error(), maxText)
		}
		err = inner
	}
}

const (
	maxFaults = 20
	maxText   = 1000             // bytes of an error
	breath    = time.Second / 10 // in which perBreath errors of one step are looked at
	perBreath = 16
)

// trouble is the faults of late, the newest last.
type trouble struct {
	mu     sync.Mutex
	all    []fault
	looked map[string]looks // by steps, of which there are few
}

// looks is how many errors were looked at since a breath began.
type looks struct {
	began time.Time
	times int
}

// look reports whether an error of that step is to be looked at. A breath begins with a look, not
// with an error that is taken for the last one: otherwise errors that keep coming would hide those
// of other causes for good. There are several looks in it, so that causes which alternate are
// told apart. t.mu is held.
func (t *trouble) look(op string, now time.Time) bool {
	l := t.looked[op]
	if now.Sub(l.began) >= breath {
		l = looks{began: now}
	}
	if l.times == perBreath {
		return false
	}
	l.times++
	if t.looked == nil {
		t.looked = make(map[string]looks)
	}
	t.looked[op] = l
	return true
}

// add notes a fault. In an outage there are very many, and to count those that come at the
// same moment is not worth a wait.
func (t *trouble) add(op, key string, err error, now time.Time) {
	if err == nil || !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	if len(key) > maxKey {
		key = ""
	}
	// The newest of the step, which an error is taken for that is not looked at.
	same := len(t.all) - 1
	for same >= 0 && t.all[same].Op != op {
		same--
	}
	f := fault{Op: op}
	looked := t.look(op, now) || same < 0
	if looked {
		// They may be part of something large.
		f.Key, f.Text, f.cause = strings.Clone(key), strings.Clone(cut(err.Error(), maxText)), strings.Clone(causeOf(err))
		same = slices.IndexFunc(t.all, func(g fault) bool { return g.Op == op && g.cause == f.cause })
	}
	switch {
	case !looked:
		f = t.all[same]
	case same >= 0 && now.Sub(t.all[same].At) < lately:
		f.Times = t.all[same].Times
	case same >= 0: // the same trouble as long ago
	case len(t.all) == maxFaults:
		same = 0
	}
	if same >= 0 {
		t.all = slices.Delete(t.all, same, same+1)
	}
	f.At = now
	f.Times++
	t.all = append(t.all, f)
}

// list returns the faults of late, the newest first.
func (t *trouble) list(now time.Time) []fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.Clone(t.all)
	slices.Reverse(all)
	return slices.DeleteFunc(all, func(f fault) bool { return now.Sub(f.At) >= lately })
}
