package dogpile_test

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dogpile-go/dogpile"
)

// library makes a Codec of any JSON library that has the usual two functions:
//
//	dogpile.Options{Codec: library{sonic.Marshal, sonic.Unmarshal}}
type library struct {
	marshal   func(v any) ([]byte, error)
	unmarshal func(data []byte, v any) error
}

func (l library) Append(dst []byte, v any) ([]byte, error) {
	data, err := l.marshal(v)
	return append(dst, data...), err
}

func (l library) Decode(data []byte, v any) error {
	// Most libraries take null for any type and leave it zero. Here that would
	// be a hit with a value nobody stored.
	if string(data) == "null" {
		return errors.New("null is no value here")
	}
	return l.unmarshal(data, v)
}

// Another JSON library in the place of encoding/json.
func ExampleCodec() {
	var codec dogpile.Codec = library{json.Marshal, json.Unmarshal}

	data, err := codec.Append(nil, []string{"a", "b"})
	fmt.Println(string(data), err)

	var v []string
	err = codec.Decode(data, &v)
	fmt.Println(v, err)
	fmt.Println(codec.Decode([]byte("null"), &v))
	// Output:
	// ["a","b"] <nil>
	// [a b] <nil>
	// null is no value here
}
