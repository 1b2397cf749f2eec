package memcached

import (
	"context"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

// cutOff reports whether a call failed because its connection did, as it does when
// the server was started again, and may be made again over another.
func cutOff(ctx context.Context, err error) bool { return memcache.Lost(err) && ctx.Err() == nil }

// twice calls do, and calls it again if its connection was lost. It is for what
// looks at the server before it changes anything, and so finds out what the first
// time has done.
func twice(ctx context.Context, do func() error) error {
	err := do()
	if cutOff(ctx, err) {
		err = do()
	}
	return err
}

// repeatable reports whether ops may be sent again if their connection was lost
// before all were answered. Some may have been carried out by then; none will be
// any more, as memcache.Lost explains.
//
// To read again changes nothing. To delete again, or to store again what is stored
// in any case, has the effect of doing so once but later, and the call is still
// under way, so that nobody can tell:
//
//  1. W sends its value, which is stored, and the connection ends.
//  2. D deletes the key, or stores another value.
//  3. W sends its value again, and it is there after D's call, as it would be had
//     W been slower.
//
// That is not enough where others go by what W stores: a version token is stored
// Once. An Add or a CAS would find what it has done itself, and be refused. What makes
// a placeholder is told that another has made it.
func repeatable(ops []memcache.Op) bool {
	for i := range ops {
		if op := &ops[i]; op.Add || op.CAS != 0 && op.Kind != memcache.Get || op.Vivify != 0 || op.Once {
			return false
		}
	}
	return true
}

// try sends ops, and sends them again if that may be done, within the time that a
// call has.
func (s *server) try(ctx context.Context, ops []memcache.Op) error {
	began := time.Now()
	err := s.client.Do(ctx, ops)
	if !cutOff(ctx, err) || !repeatable(ops) {
		return err
	}
	ctx, cancel := boundSince(ctx, began, s.limit)
	defer cancel()
	return s.client.Do(ctx, ops)
}
