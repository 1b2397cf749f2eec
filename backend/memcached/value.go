package memcached

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/memcache"
)

const (
	flagNone  = 0
	flagZlib  = 8      // compressed by python-memcached or pylibmc
	flagEmpty = 0x6470 // an empty value; an empty item without it is a placeholder

	maxInflated = 64 << 20
)

// stored puts data into a Set.
func stored(op *memcache.Op, data []byte) {
	op.Value, op.Flags = data, flagNone
	if len(data) == 0 {
		op.Flags = flagEmpty
	}
}

// value returns the entry that a Get has found; nil for none. An error means that
// the item is no entry.
func value(op *memcache.Op) ([]byte, error) {
	switch {
	case op.Status != memcache.Done, op.Flags == flagNone && len(op.Value) == 0:
		// Nothing, or the placeholder of a lease.
		return nil, nil
	case op.Flags == flagNone:
		return op.Value, nil
	case op.Flags == flagEmpty && len(op.Value) == 0:
		return []byte{}, nil
	case op.Flags == flagZlib:
		return inflate(op.Value)
	}
	return nil, fmt.Errorf("%w: an item with flags %d, as of a pickle, is no entry", driver.ErrCorrupt, op.Flags)
}

// inflate limits what it returns: a few kilobytes can inflate to gigabytes.
func inflate(data []byte) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrCorrupt, err)
	}
	out, err := io.ReadAll(io.LimitReader(r, maxInflated+1))
	if err == nil && len(out) > maxInflated {
		err = errors.New("it inflates to too much")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrCorrupt, err)
	}
	return out, nil
}
