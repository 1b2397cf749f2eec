package cbor_test

import (
	"fmt"
	"math/big"
	"reflect"
	"time"

	"github.com/dogpile-go/dogpile/codec/cbor"
)

func Example() {
	type user struct {
		ID   int    `json:"id"`
		Name string `json:"name"`
	}
	data, err := cbor.Codec.Append(nil, user{42, "Ann"})
	fmt.Printf("%x %v\n", data, err)

	var u user
	err = cbor.Codec.Decode(data, &u)
	fmt.Println(u, err)

	var n int
	fmt.Println(cbor.Codec.Decode([]byte{0xf6}, &n))
	// Output:
	// a2626964182a646e616d6563416e6e <nil>
	// {42 Ann} <nil>
	// cbor: cannot decode null into *int
}

// What would come back changed is not stored.
func Example_refused() {
	type account struct {
		*big.Int // its methods write the account as a number
		Currency string
	}
	fmt.Println(cbor.Codec.CheckType(reflect.TypeFor[account]()))

	_, err := cbor.Codec.Append(nil, map[string]any{"at": time.Minute})
	fmt.Println(err)
	// Output:
	// cbor: type cbor_test.account: MarshalText of the embedded *big.Int is that of cbor_test.account too, and loses field Currency; give cbor_test.account methods of its own, or the field a name
	// cbor: type map[string]interface {}: element []: a time.Duration in an interface would come back as another type
}

// A length that is written in damaged data is not believed.
func Example_damaged() {
	var list []int
	err := cbor.Codec.Decode([]byte{0x9a, 0x7f, 0xff, 0xff, 0xff}, &list)
	fmt.Println(err)
	// Output: cbor: exceeded max number of elements 4194304 for CBOR array
}
