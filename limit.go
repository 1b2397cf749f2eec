package dogpile

import "context"

// limit is Options.MaxCreators: it has room for one element for each creator that
// may run. A nil limit sets none.
type limit chan struct{}

// acquire takes a slot for a creator. If all are taken it waits, or returns nil
// where it may not. release is called once.
//
// A slot that was waited for is kept until the creator is done, or has to wait for
// another process. It must not be handed on between the two: callers that are woken
// one after the other, each to find the slot taken again, would never create.
func (l limit) acquire(ctx context.Context, wait bool) (release func(), err error) {
	if l == nil {
		return func() {}, nil
	}
	release = func() { <-l }
	select {
	case l <- struct{}{}:
		return release, nil
	default:
	}
	if !wait {
		return nil, nil
	}
	select {
	case l <- struct{}{}:
		return release, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
