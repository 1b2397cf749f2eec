//go:build !race

package dogpile_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// TestCodecAllocations: a codec takes memory for what it makes, and for nothing
// else.
func TestCodecAllocations(t *testing.T) {
	type profile struct {
		ID   int
		Name string
		At   time.Time
		Tags []string
	}
	for _, row := range []struct {
		name           string
		codec          dogpile.Codec
		v              any
		append, decode float64
	}{
		{"string", dogpile.JSON, "some text", 0, 1},
		{"text that is escaped", dogpile.JSON, "a\nb\ufffd", 0, 2},
		{"int", dogpile.JSON, 123456, 0, 0},
		{"float", dogpile.JSON, 1.5, 0, 0},
		{"bool", dogpile.JSON, true, 0, 0},
		{"bytes", dogpile.JSON, []byte("some bytes"), 0, 1},
		{"nil pointer", dogpile.JSON, (*user)(nil), 0, 0},
		{"small struct", dogpile.JSON, user{1, "name"}, 0, 1},
		{"struct", dogpile.JSON, profile{1, "name", time.Unix(1, 2).UTC(), []string{"a", "b"}}, 1, 4},
		{"pointer", dogpile.JSON, &user{1, "name"}, 0, 2},
		{"RawMessage", dogpile.JSON, json.RawMessage(`{"a":1}`), 1, 1},
		{"bytes as they are", dogpile.Bytes, []byte("some bytes"), 0, 1},
		{"text as it is", dogpile.Text, "some text", 0, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			var data []byte
			var err error
			dst := make([]byte, 0, 256)
			if n := testing.AllocsPerRun(200, func() { data, err = dogpile.Encode(row.codec, dst, row.v) }); n > row.append || err != nil {
				t.Errorf("Append: %v allocations, want %v; %v", n, row.append, err)
			}
			p := reflect.New(reflect.TypeOf(row.v))
			v := p.Interface()
			if n := testing.AllocsPerRun(200, func() { p.Elem().SetZero(); err = dogpile.Decode(row.codec, data, v) }); n > row.decode || err != nil {
				t.Errorf("Decode: %v allocations, want %v; %v", n, row.decode, err)
			}
		})
	}
}
