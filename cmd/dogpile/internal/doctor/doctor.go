// Package doctor looks at the backend of a region as an operator would, and tells what is
// unfit for a cache.
package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"check"`
	Server string `json:"server,omitempty"` // that it is about; empty: the whole backend
	Value  string `json:"value"`            // what was found
	Advice string `json:"advice,omitempty"` // what to do about it; empty: it is well
}

// Patient is a region to be looked at.
type Patient struct {
	Region *dogpile.Region
	// Key returns what the backend knows a key of the region as.
	Key func(key string) string
	// Complete: the options of Region are those of the program.
	Complete bool
}

// Examine looks at the backend of a region. It stores an entry of its own, and removes it.
func (p *Patient) Examine(ctx context.Context) []Check {
	b := p.Region.Backend()
	checks := append(p.caps(), p.roundTrip(ctx)...)
	checks = append(checks, p.stores(ctx))
	if r, ok := driver.As[*redis.Backend](b); ok {
		checks = append(checks, p.redis(ctx, r)...)
	}
	if m, ok := driver.As[*memcached.Backend](b); ok {
		checks = append(checks, p.memcached(ctx, m)...)
	}
	if f, ok := driver.As[*file.Backend](b); ok {
		checks = append(checks, p.file(f)...)
	}
	return checks
}

// caps tells what the backend can do.
func (p *Patient) caps() []Check {
	c := driver.CapsOf(p.Region.Backend())
	var can []string
	say := func(is bool, text string) {
		if is {
			can = append(can, text)
		}
	}
	say(c.Discards, "keeps nothing")
	say(c.Shared, "shared by processes")
	say(!c.Shared && !c.Discards, "of each process alone")
	say(c.Locks && c.Fenced, "fenced leases")
	say(c.Locks && !c.Fenced, "leases that are not fenced")
	say(!c.Locks, "no leases")
	say(c.MaxKeyLen > 0, fmt.Sprintf("keys of up to %d bytes", c.MaxKeyLen))
	say(c.MaxValue > 0, "values of up to "+size(int64(c.MaxValue)))
	say(c.TTLUnit > 0, fmt.Sprintf("TTL in units of %v", c.TTLUnit))
	say(c.Timeout > 0, fmt.Sprintf("calls take up to %v", c.Timeout))
	check := Check{Name: "backend", Value: strings.Join(append([]string{c.Name}, can...), ", ")}
	switch {
	case c.Discards:
		check.Advice = "nothing is cached: choose another backend"
	case !c.Shared:
		check.Advice = "each process caches for itself, and each creates: choose a backend that they share if there are several"
	case c.Locks && !c.Fenced:
		check.Advice = "in rare cases a value is stored after its key was deleted: leave out python_lock and protocol=binary where no Python program shares the servers"
	}
	return []Check{check}
}

const (
	calls = 20 // of which the round trip is measured
	// slow is a round trip that makes a cache slow.
	slow = 5 * time.Millisecond
)

// roundTrip measures how long a read takes.
func (p *Patient) roundTrip(ctx context.Context) []Check {
	key := p.Key("dogpile-doctor")
	var took []time.Duration
	for i := range calls + 1 {
		began := time.Now()
		if err := p.Region.Backend().Get(ctx, []driver.Item{{Key: key}}); err != nil {
			return []Check{{Name: "round trip", Value: problem(err), Advice: "the backend did not answer; see whether it is overloaded"}}
		}
		if i > 0 { // the first call may have connected
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	check := Check{Name: "round trip", Value: fmt.Sprintf("%v in the median of %d reads, %v at most", round(took[calls/2]), calls, round(took[calls-1]))}
	if took[calls/2] > slow {
		check.Advice = "each read of the cache takes as long: bring the server nearer, or keep copies in the processes (near)"
	}
	return []Check{check}
}

// round leaves a duration some three digits.
func round(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for ; d.Abs() >= 1000*unit; unit *= 10 {
	}
	return d.Round(unit)
}

// stores sees whether an entry can be stored, under a lease if there are leases, read and
// removed.
func (p *Patient) stores(ctx context.Context) Check {
	err := p.store(ctx)
	if err == nil {
		return Check{Name: "storing", Value: "an entry was stored, read and removed"}
	}
	advice := "nothing is cached until that is mended"
	switch text := err.Error(); {
	case strings.Contains(text, "READONLY"):
		advice = "this server is a replica: name the primary, or use redis+sentinel:// or redis+cluster://"
	case strings.Contains(text, "OOM"):
		advice = "the server is full: set maxmemory-policy to allkeys-lru, or give it more memory"
	case strings.Contains(text, "NOPERM"):
		advice = "the user may not do what a cache needs: docs/operating.md lists the commands"
	case errors.Is(err, errForgot):
		advice = "what is stored is gone at once: the server has no room, or something else removes it"
	}
	return Check{Name: "storing", Value: problem(err), Advice: advice}
}

var errForgot = errors.New("an entry was stored, and is not there")

func (p *Patient) store(ctx context.Context) error {
	b := p.Region.Backend()
	caps := driver.CapsOf(b)
	if caps.Discards {
		return nil
	}
	item := driver.Item{Key: p.Key("dogpile-doctor:" + rand.Text()), Data: []byte("x"), TTL: 10 * time.Second}
	if caps.Objects {
		item.Data, item.Object = nil, "x"
	}
	if locker, ok := b.(driver.Locker); ok && caps.Locks {
		lease, err := locker.TryLock(ctx, item.Key, 10*time.Second)
		switch {
		case err != nil:
			return fmt.Errorf("take a lease: %w", err)
		case lease == nil:
			return errors.New("take a lease: another has it on a key that nobody else uses")
		}
		item.Lease = lease
	}
	items := []driver.Item{item}
	if err := b.Set(ctx, items); err != nil || items[0].Err != nil {
		return fmt.Errorf("store: %w", errors.Join(err, items[0].Err))
	}
	read := []driver.Item{{Key: item.Key}}
	if err := b.Get(ctx, read); err != nil || read[0].Err != nil {
		return fmt.Errorf("read: %w", errors.Join(err, read[0].Err))
	}
	err := b.Delete(ctx, []string{item.Key})
	switch {
	case err != nil:
		return fmt.Errorf("remove: %w", err)
	case !read[0].Found():
		return errForgot
	}
	return nil
}

// problem is an error as a value.
func problem(err error) string { return strings.TrimPrefix(err.Error(), "dogpile: ") }

// clock tells how a server's clock differs from that of this host. asked and answered are when
// the server was asked and when it had answered, by this one; unit is how exactly it tells.
func clock(server string, theirs, asked, answered time.Time, unit time.Duration) Check {
	middle := asked.Add(answered.Sub(asked) / 2)
	ahead := theirs.Sub(middle)
	doubt := answered.Sub(asked)/2 + unit
	check := Check{Name: "clock", Server: server}
	switch {
	case ahead.Abs() <= doubt:
		check.Value = fmt.Sprintf("that of this host, as exactly as can be told (±%v)", round(doubt))
	case ahead > 0:
		check.Value = fmt.Sprintf("%v ahead of this host's", round(ahead))
	default:
		check.Value = fmt.Sprintf("%v behind this host's", round(-ahead))
	}
	if ahead.Abs() > doubt+time.Second {
		check.Advice = "ages are told by the clocks of hosts, so that entries of one are fresh for too long or too short on another: synchronise all of them (NTP)"
	}
	return check
}

// refused is a check that could not be made.
func refused(name, server string, err error, advice string) Check {
	return Check{Name: name, Server: server, Value: problem(err), Advice: advice}
}
