package dogpile

import (
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/bridge"
)

func init() {
	bridge.Swap = func(region any, b driver.Backend, options any) (func() error, error) {
		return region.(*Region).swap(b, options.(*Options))
	}
}

// swap is Reconfigure for the time until restore is called. It differs from it in
// that the configuration before, or that there was none, is kept.
func (r *Region) swap(b driver.Backend, o *Options) (restore func() error, err error) {
	s, err := newState(r, b, o)
	if err != nil {
		return nil, r.wrap("configure", "", err)
	}
	before, err := r.exchange(s)
	if err != nil {
		return nil, err
	}
	return func() error {
		last, err := r.exchange(before)
		if last != nil {
			last.end(false) // it may have been configured from settings in the meantime
			(*pending)(nil).inherit(last)
			last.pending.dropped()
		}
		return err
	}, nil
}

// exchange puts s in force, nil for no configuration, and returns what was.
func (r *Region) exchange(s *state) (before *state, err error) {
	commits.Lock()
	r.mu.Lock()
	before, closed := r.current.Load(), r.closed
	if !closed {
		r.put(s)
	}
	r.mu.Unlock()
	commits.Unlock()
	if closed {
		return nil, r.wrap("configure", "", ErrClosed)
	}
	if before != nil {
		before.retire()
	}
	return before, nil
}
