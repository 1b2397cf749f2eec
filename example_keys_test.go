package dogpile_test

import (
	"fmt"
	"strings"

	"github.com/dogpile-go/dogpile"
)

func ExampleSHA1() {
	fmt.Println(dogpile.SHA1("some_key"))
	// Output: 53def077a4264bd3183d4eb21b1f56f883e1b572
}

func ExamplePrefix() {
	mangle := dogpile.Prefix("v2:")
	fmt.Println(mangle("user|42"))
	// Output: v2:user|42
}

// Keys stay readable until they are too long for memcached.
func ExampleIfLonger() {
	mangle := dogpile.IfLonger(250, dogpile.SHA256)
	fmt.Println(mangle("user|42"))
	fmt.Println(mangle("user|" + strings.Repeat("x", 245)))
	// Output:
	// user|42
	// 024a4f85c38c471285857f97edc64e8be3e863173ad9ebe995382a3ed1f7ef77
}

func ExampleChain() {
	mangle := dogpile.Chain(strings.ToLower, dogpile.Prefix("app:"))
	fmt.Println(mangle("User"))
	// Output: app:user
}

// Keys as dogpile.cache makes them for a function of the module myapp.tools.
func ExamplePythonKeys() {
	key := dogpile.PythonKeys("myapp.tools")
	fmt.Println(key("one|foo", 3, 4))
	fmt.Println(key("two", "x", nil, true, 1.0))
	fmt.Println(key("two", []int{1}))
	// Output:
	// myapp.tools:one|foo|3 4 <nil>
	// myapp.tools:two|x None True 1.0 <nil>
	//  argument 1: []int has no form in a Python key
}

// A KeyFunc of one's own.
func ExampleKeyFunc() {
	var key dogpile.KeyFunc = func(name string, args ...any) (string, error) {
		return fmt.Sprintf("%s/%v", name, args), nil
	}
	fmt.Println(key("user", 42))
	// Output: user/[42] <nil>
}
