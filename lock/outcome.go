package lock

import "context"

// kind tells where the value of a flight comes from.
type kind uint8

const (
	made   kind = iota // by its creator
	read               // by reading: another had made it
	old                // by reading, and it is stale: callers had none
	seen               // it is the stale value that the first caller came with
	absent             // there is none: the creator of a Many left it out
	again              // there is none yet: everybody has to start over
)

type outcome[V any] struct {
	v    V
	kind kind
	lost bool // the lock was lost before v was stored
	err  error
}

func (o outcome[V]) publish(f *flight) func() {
	return func() { f.value, f.kind, f.lost, f.err = box[V]{o.v}, o.kind, o.lost, o.err }
}

// serves reports whether the value of a finished flight may be returned to a
// caller. A caller is late who called after the flight's last reading, or after
// its creation began: a value may have been deleted before he called that this
// flight still carries. Only a creation whose lock held until it was stored
// proves that none was. He starts over, and is not late for a flight that begins
// then: nobody waits for more than two creations. Where neither he nor the flight
// could read, nobody can know better, and one creation has to do.
func (f *flight) serves(called int64, stale bool, version string) bool {
	late := f.marked < called && (version != AnyVersion || f.version != AnyVersion)
	switch f.kind {
	case seen:
		return stale
	case read, old:
		return !late
	case absent, again:
		return false
	default:
		return !late || !f.lost
	}
}

// held is a list, in the context of a creator, of what it and those above it
// are creating.
type held struct {
	set *Flights
	key string
	up  *held
}

type heldKey struct{}

func entering(ctx context.Context, fs *Flights, key string) context.Context {
	up, _ := ctx.Value(heldKey{}).(*held)
	return context.WithValue(ctx, heldKey{}, &held{fs, key, up})
}

// creating reports whether ctx belongs to a creator of key.
func creating(ctx context.Context, fs *Flights, key string) bool {
	h, _ := ctx.Value(heldKey{}).(*held)
	for ; h != nil; h = h.up {
		if h.set == fs && h.key == key {
			return true
		}
	}
	return false
}

// Creating reports whether ctx belongs to a creator of any key of fs.
func (fs *Flights) Creating(ctx context.Context) bool {
	h, _ := ctx.Value(heldKey{}).(*held)
	for ; h != nil; h = h.up {
		if h.set == fs {
			return true
		}
	}
	return false
}
