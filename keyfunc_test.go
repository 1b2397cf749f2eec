package dogpile_test

import (
	"math"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile"
)

func TestPythonKeys(t *testing.T) {
	t.Parallel()
	type id int64
	type flag bool
	three := 3
	pointer := &three
	key := dogpile.PythonKeys("myapp.tools")
	for _, row := range []struct {
		name string
		args []any
		want string
	}{
		{"one|foo", []any{3, 4}, "one|foo|3 4"},
		{"one", nil, "one|"},
		{"one", []any{""}, "one|"},
		{"one", []any{nil}, "one|None"},
		{"one", []any{1, nil}, "one|1 None"},
		{"one", []any{true, false, flag(true)}, "one|True False True"},
		{"one", []any{id(7), &three, &pointer, (*int)(nil)}, "one|7 3 3 None"},
		{"one", []any{int8(-1), uint64(math.MaxUint64)}, "one|-1 18446744073709551615"},
		{"one", []any{"a b", "c|é\n"}, "one|a b c|é\n"},
		{"one", []any{1.0, 0.1, math.Copysign(0, -1), 0.0}, "one|1.0 0.1 -0.0 0.0"},
		{"one", []any{1e15, 9999999999999998.0, 1e16, 1.5e16, 123456789012345680.0, 1e100},
			"one|1000000000000000.0 9999999999999998.0 1e+16 1.5e+16 1.2345678901234568e+17 1e+100"},
		{"one", []any{1e-4, 0.00012, 1e-5, -1.25e-7, 5e-324}, "one|0.0001 0.00012 1e-05 -1.25e-07 5e-324"},
		{"one", []any{math.NaN(), math.Inf(1), math.Inf(-1)}, "one|nan inf -inf"},
		{"one", []any{1795335672.9081824, 0.30000000000000004, float32(0.5)}, "one|1795335672.9081824 0.30000000000000004 0.5"},
	} {
		if got, err := key(row.name, row.args...); err != nil || got != "myapp.tools:"+row.want {
			t.Errorf("%s%v = %q, %v; want %q", row.name, row.args, got, err, row.want)
		}
	}
	for want, arg := range map[string]any{
		"argument 2: []string has": []string{"a"},
		"argument 2: []uint8":      []byte("a"),
		"argument 2: struct {}":    struct{}{},
		"argument 2: map[int]int":  map[int]int{},
		"argument 2: complex128":   1i,
		"argument 2: struct { A":   &struct{ A int }{},
	} {
		if got, err := key("one", 1, arg); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%T: %q, %v; want %s", arg, got, err, want)
		}
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"user", "one|foo", "пользователь", "a.b/c:d", "%"} {
		if err := dogpile.CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"":        "a function needs a name",
		"a b":     `function name "a b" has a space or control character in it`,
		"a\n":     "space or control",
		"a\u00a0": "space or control",
		"\x00":    "space or control",
		"a\x7f":   "space or control",
		"a\xff":   `function name "a\xff" is not UTF-8`,
	} {
		if err := dogpile.CheckName(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
}
