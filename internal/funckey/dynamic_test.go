package funckey_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/funckey"
)

type (
	color   string
	size    int
	failing struct{}
	value   struct{ N int }
	shared  struct{ N int }
)

func (value) String() string   { return "a value" }
func (*shared) String() string { return "a pointer" }

func (failing) MarshalText() ([]byte, error) { return nil, errors.New("no text") }

// Values of types that are known at run time only stand in keys with their type, unless they can
// be told from all others without it.
func TestAppendAny(t *testing.T) {
	t.Parallel()
	const here = "github.com/dogpile-go/dogpile/internal/funckey_test."
	p := new(int)
	pp := &p
	for _, test := range []struct {
		v    any
		want string
	}{
		{nil, "!"}, {42, "42"}, {uint8(42), "42"}, {int64(-1), "-1"}, {pp, "0"}, {(*int)(nil), "%2Aint'!"},
		{"a b", "a%20b"}, {"", ""}, {"42", "string'42"}, {"-1", "string'-1"}, {"18446744073709551615", "string'18446744073709551615"}, {"4 2", "4%202"},
		{true, "bool'true"}, {2.5, "float64'2.5"}, {[]byte("a"), "%5B%5Duint8'a"}, {[]string{"a", "b"}, "%5B%5Dstring'[a,b]"},
		{color("red"), here + "color'red"}, {[]color{"red"}, "%5B%5D" + here + "color'[red]"}, {[2]size{1, 2}, "%5B2%5D" + here + "size'[1,2]"},
		{&struct{ A, B int }{1, 2}, "struct%20%7B%20A%20int%3B%20B%20int%20%7D'(1,2)"},
		{value{1}, here + "value'(1)"}, {&value{1}, here + "value'(1)"}, {shared{1}, here + "shared'(1)"}, {&shared{1}, "*" + here + "shared'(1)"},
		{time.Unix(0, 0).UTC(), "time.Time'1970-01-01T00:00:00Z"},
	} {
		got, err := funckey.AppendAny([]byte("k|"), test.v)
		if err != nil || string(got) != "k|"+test.want {
			t.Errorf("%#v: %q, %v, want %q", test.v, got, err, "k|"+test.want)
		}
	}
	for _, v := range []any{map[string]int{}, func() {}, []any{1}, failing{}, (chan int)(nil), (map[string]int)(nil)} {
		for range 2 { // the second time the type is known
			if _, err := funckey.AppendAny(nil, v); err == nil {
				t.Errorf("%T has a form", v)
			}
		}
	}
}
