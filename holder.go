package dogpile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/scan"
)

// Holder reports what [Region.Locked] does, and whose creator is at work: host, process and
// since when, as the process wrote it that took the lease. Of a program in Python it tells no
// more than that, and over a backend that cannot tell the Holder is the zero one. It is for
// tools and for people: by the time at which it returns the lease may be another's.
func (r *Region) Holder(ctx context.Context, key string) (h driver.Holder, held bool, err error) {
	s, err := r.enter("holder")
	if err != nil {
		return h, false, err
	}
	defer s.leave()
	k, err := s.key("holder", key)
	if err != nil || s.caps.Discards {
		return h, false, err
	}
	h, held, err = s.holder(ctx, k)
	if err != nil {
		return driver.Holder{}, false, r.backendError(ctx, "holder", key, err)
	}
	return h, held, nil
}

// holder tells who holds the lease on a mangled key.
func (s *state) holder(ctx context.Context, key string) (h driver.Holder, held bool, err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	began := s.calls()
	if hs, ok := s.locker.(driver.Holders); ok {
		h, held, err = hs.Holder(ctx, key)
	} else {
		held, err = s.locker.Locked(ctx, key)
	}
	s.called(ctx, "holder", began, nil, err)
	return h, held, err
}

// longWait is what the log says of a lease that others hold for long. It is no error: their
// creator may take its time.
type longWait struct{ holder driver.Holder }

// Error names the holder, as the log does.
func (w *longWait) Error() string { return "it is held by " + w.holder.String() }

// watch has the log tell, once, who holds the lease that a creation waits for, when it has
// waited for as long as a lease lasts: for one holder, which has renewed the lease, or for one
// after the other. stop ends the watch when the wait is over.
func (cr *creation[V]) watch(ctx context.Context, k *creationKey[V]) (stop func()) {
	s := cr.s
	if k.waits.IsZero() {
		k.waits = time.Now()
	}
	if k.waitLog {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	s.usage.hold() // before it can begin: the wait may be over then, and the region closed
	timer := time.AfterFunc(s.o.LockTTL-time.Since(k.waits), func() {
		defer s.usage.leave()
		defer s.contain(ctx, "holder")
		h, held, err := s.holder(ctx, k.mangled)
		if held && err == nil {
			s.log(ctx, Event{Op: "wait", Name: cr.c.o.Name, Key: k.key, Err: &longWait{h}})
		}
	})
	return func() {
		cancel()
		if timer.Stop() {
			s.usage.leave()
		} else {
			k.waitLog = true
		}
	}
}

// Scan calls found with each entry of the region and with each lease on one, as
// [driver.Scanner] says: in no order, some perhaps twice, in the caller's goroutine, until found
// returns false. Entries that are stale or invalid are among them. Keys are the caller's, and
// what the library keeps for itself is left out; the Size is that in the backend, after
// proxies. ctx alone limits the time that it takes. Close and Reconfigure end it with
// [ErrClosed], wherever it is: a backend that is not used any more is not kept open for a list.
// It is for tools; a backend that cannot list what it has, as memcached, is an error in which
// errors.Is finds [errors.ErrUnsupported].
//
// A Mangler may have changed keys so that the region's prefix is lost, by hashing them. Then
// the keys are given as they are stored, and with them everything else that is in the backend
// and could be the region's.
func (r *Region) Scan(ctx context.Context, found func(driver.Found) bool) error {
	s, err := r.enter("scan")
	if err != nil {
		return err
	}
	defer s.leave()
	if s.caps.Discards {
		return r.wrap("scan", "", ctx.Err())
	}
	sc, ok := s.chain.(driver.Scanner)
	if !ok {
		return r.wrap("scan", "", fmt.Errorf("backend %T lists nothing: %w", s.chain, errors.ErrUnsupported))
	}
	own, err := s.scanned()
	if err != nil {
		return r.wrap("scan", "", err)
	}
	// Also where nothing is found, for long, the backend is to see the end.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.inUse, cancel)()
	began, stopped, ended := s.calls(), false, false
	each := func(f driver.Found) bool {
		if ended = s.inUse.Err() != nil; ended {
			return false // the end of ctx comes a moment later
		}
		if f.Key, ok = own(f.Key); ok {
			asked := s.calls()
			stopped = !found(f)
			began += s.calls() - asked // what found does is no call of the backend
		}
		return !stopped
	}
	prefix := s.o.Prefix
	if s.mangle != nil {
		prefix = ""
	}
	err = sc.Scan(ctx, prefix, each)
	unsupported := errors.Is(err, errors.ErrUnsupported)
	if !unsupported { // otherwise there was no call
		s.called(ctx, "scan", began, nil, err)
	}
	if g, here := s.backend.(*guarded); here && err == nil && !stopped && !ended {
		err = scan.Each(ctx, s.inUse.Err, g.Leases(prefix), each)
	}
	switch {
	case ended || err != nil && s.inUse.Err() != nil:
		return r.wrap("scan", "", ErrClosed)
	case err == nil || unsupported:
		return r.wrap("scan", "", err)
	}
	return r.backendError(ctx, "scan", "", err)
}

// scanned returns what makes the caller's key of one of the backend's. It returns false for
// those of other regions, and for the library's own.
func (s *state) scanned() (own func(stored string) (key string, is bool), err error) {
	prefix := s.o.Prefix
	if s.mangle == nil {
		return func(stored string) (string, bool) {
			key, is := strings.CutPrefix(stored, prefix)
			return key, is && !reserved(key) && !reserved(stored)
		}, nil
	}
	tokens, err := s.tokenKeys()
	return func(stored string) (string, bool) {
		if reserved(stored) || slices.Contains(tokens, stored) {
			return "", false
		}
		// A mangler may keep the key, and put something in front of it, in which there may be
		// the prefix too.
		for at := range len(stored) + 1 {
			key, is := strings.CutPrefix(stored[at:], prefix)
			if is && s.mangle(prefix+key) == stored {
				return key, !reserved(key)
			}
		}
		return stored, true
	}, err
}
