//go:build !race

package cbor_test

import (
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/codec/cbor"
)

// TestAllocations: what is made of a value takes memory, and nothing else.
func TestAllocations(t *testing.T) {
	v := user{1, "name", []string{"a", "b"}, nil, time.Unix(1, 2).UTC()}
	dst := make([]byte, 0, 256)
	var data []byte
	var err error
	// The time is formatted, and the struct is copied for its reflection.
	if n := testing.AllocsPerRun(200, func() { data, err = cbor.Codec.Append(dst, &v) }); n > 3 || err != nil {
		t.Errorf("Append: %v allocations, %v", n, err)
	}
	var got user
	// A name, a list with two strings, and the time's text, parsed.
	if n := testing.AllocsPerRun(200, func() { got = user{}; err = cbor.Codec.Decode(data, &got) }); n > 6 || err != nil {
		t.Errorf("Decode: %v allocations, %v", n, err)
	}
	dst = dst[:0]
	if n := testing.AllocsPerRun(200, func() { data, err = cbor.Codec.Append(dst, "text") }); n > 0 || err != nil {
		t.Errorf("Append of a string: %v allocations, %v", n, err)
	}
}

// TestAllocOfTooManyElements is among the tests without the race detector, which
// takes seconds for them.
func TestAllocOfTooManyElements(t *testing.T) {
	run(t, []row{
		{"too many", cannotEncode(make([]bool, cbor.MaxElements+1), "exceeded max number of elements")},
		{"as many as can be", roundTrip(make([]bool, cbor.MaxElements))},
	})
}
