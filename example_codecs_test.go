package dogpile_test

import (
	"fmt"
	"net/netip"

	"github.com/dogpile-go/dogpile"
)

// What Python's json.dumps writes is read; what is not JSON is an error, so
// that the entry counts as missing.
func ExampleJSON() {
	var user struct {
		Name string
		Tags []string
	}
	err := dogpile.JSON.Decode([]byte(`{"Name": "\u00e9lodie", "Tags": ["a", "b"]}`), &user)
	fmt.Println(user, err)

	var n any
	err = dogpile.JSON.Decode([]byte(`1180591620717411303424`), &n) // 2**70
	fmt.Println(n, err)

	var f float64
	fmt.Println(dogpile.JSON.Decode([]byte(`NaN`), &f))
	fmt.Println(dogpile.JSON.Decode([]byte(`null`), &f))
	// Output:
	// {élodie [a b]} <nil>
	// 1180591620717411303424 <nil>
	// invalid character 'N' looking for beginning of value
	// json: cannot decode null into *float64
}

// What would come back changed is not stored.
func ExampleJSON_refused() {
	_, err := dogpile.JSON.Append(nil, map[string]string{"name": "caf\xe9"}) // Latin-1
	fmt.Println(err)

	type answer struct {
		Result any
	}
	_, err = dogpile.JSON.Append(nil, answer{[]string{"a", "b"}}) // would be a []any
	fmt.Println(err)
	// Output:
	// json: type map[string]string: element []: a string that is not UTF-8 would come back changed
	// json: type dogpile_test.answer: field Result: a []string in an interface would come back as another type
}

func ExampleBytes() {
	data, err := dogpile.Bytes.Append(nil, []byte("GIF89a"))
	fmt.Println(string(data), err)

	var page string
	fmt.Println(dogpile.Bytes.Decode(data, &page))
	// Output:
	// GIF89a <nil>
	// bytes: cannot decode into *string
}

func ExampleText() {
	data, err := dogpile.Text.Append(nil, netip.MustParseAddr("192.0.2.1"))
	fmt.Println(string(data), err)

	var addr netip.Addr
	err = dogpile.Text.Decode(data, &addr)
	fmt.Println(addr, err)
	// Output:
	// 192.0.2.1 <nil>
	// 192.0.2.1 <nil>
}
