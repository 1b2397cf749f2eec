package dogpile_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

type (
	word string
	blob []byte
	user struct {
		ID   int
		Name string
	}
	written string // has MarshalText only
	maybe   struct{ s *string }
)

func (written) MarshalText() ([]byte, error)  { return []byte("text"), nil }
func (m maybe) MarshalJSON() ([]byte, error)  { return json.Marshal(m.s) }
func (m *maybe) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &m.s) }

// roundTrip encodes v behind other bytes, decodes it and compares.
func roundTrip[V any](c dogpile.Codec, v V, want string) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		data, err := c.Append([]byte("|"), v)
		if err != nil || string(data) != "|"+want {
			t.Fatalf("Append(%#v) = %q, %v; want |%s", v, data, err, want)
		}
		decodes(c, want, v)(t)
	}
}

// decodes decodes data into a V that has to equal want.
func decodes[V any](c dogpile.Codec, data string, want V) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		var got V
		if err := c.Decode([]byte(data), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Decode(%q) = %#v, %v; want %#v", data, got, err, want)
		}
	}
}

// refuses decodes data into a V, which has to fail.
func refuses[V any](c dogpile.Codec, data, want string) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		var got V
		if err := c.Decode([]byte(data), &got); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Decode(%q) = %#v, %v; want an error with %q", data, got, err, want)
		}
	}
}

func cannotEncode(c dogpile.Codec, v any, want string) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		if data, err := c.Append(nil, v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Append(%#v) = %q, %v; want an error with %q", v, data, err, want)
		}
	}
}

type row struct {
	name string
	test func(*testing.T)
}

func run(t *testing.T, rows []row) {
	t.Parallel()
	for _, r := range rows {
		t.Run(r.name, r.test)
	}
}

func TestJSON(t *testing.T) {
	s := "x"
	noon := time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)
	run(t, []row{
		{"struct", roundTrip(dogpile.JSON, user{1, "<é&>"}, `{"ID":1,"Name":"<é&>"}`)},
		{"int", roundTrip(dogpile.JSON, int64(math.MaxInt64), `9223372036854775807`)},
		{"float", roundTrip(dogpile.JSON, 0.1, `0.1`)},
		{"empty string", roundTrip(dogpile.JSON, "", `""`)},
		{"bytes", roundTrip(dogpile.JSON, []byte("a\x00"), `"YQA="`)},
		{"nil pointer", roundTrip(dogpile.JSON, (*user)(nil), `null`)},
		{"nil slice", roundTrip(dogpile.JSON, []int(nil), `null`)},
		{"empty slice", roundTrip(dogpile.JSON, []int{}, `[]`)},
		{"nil map", roundTrip(dogpile.JSON, map[string]int(nil), `null`)},
		{"nil interface", roundTrip[any](dogpile.JSON, nil, `null`)},
		{"big", roundTrip(dogpile.JSON, *new(big.Int).Lsh(big.NewInt(1), 70), `1180591620717411303424`)},
		{"big field", roundTrip(dogpile.JSON, struct{ N big.Int }{*big.NewInt(7)}, `{"N":7}`)},
		{"time", roundTrip(dogpile.JSON, noon, `"2026-11-22T12:00:00.123456789Z"`)},
		{"raw null", roundTrip(dogpile.JSON, json.RawMessage("null"), `null`)},
		{"own null", roundTrip(dogpile.JSON, maybe{}, `null`)},
		{"own not null", roundTrip(dogpile.JSON, maybe{&s}, `"x"`)},
		{"newline", roundTrip(dogpile.JSON, "\n", `"\n"`)},

		{"NaN", cannotEncode(dogpile.JSON, math.NaN(), "NaN")},
		{"chan", cannotEncode(dogpile.JSON, make(chan int), "chan int")},
	})
}

// What Python's json.dumps writes, of the captures of spec and of other values.
func TestJSONReadsPython(t *testing.T) {
	run(t, []row{
		{"dict", decodes[any](dogpile.JSON, `{"foo": ["bar", 1, false, null], "\u00e9": "\u03c0|pipe"}`,
			map[string]any{"foo": []any{"bar", json.Number("1"), false, nil}, "é": "π|pipe"})},
		{"None", decodes[any](dogpile.JSON, `null`, nil)},
		{"0", decodes(dogpile.JSON, `0`, 0)},
		{"''", decodes(dogpile.JSON, `""`, "")},
		{"False", decodes(dogpile.JSON, `false`, false)},
		{"list", decodes(dogpile.JSON, `[1, 2]`, []int{1, 2})},
		{"2**70", decodes[any](dogpile.JSON, `1180591620717411303424`, json.Number("1180591620717411303424"))},
		{"2**70 in a dict", decodes(dogpile.JSON, `{"n": 1180591620717411303424}`, map[string]any{"n": json.Number("1180591620717411303424")})},
		{"1e16", decodes(dogpile.JSON, `1e+16`, 1e16)},
		{"emoji", decodes(dogpile.JSON, `"\ud83d\ude00"`, "😀")},
		{"half a pair", decodes(dogpile.JSON, `"\ud83d"`, "\ufffd")},
		{"indent", decodes(dogpile.JSON, "{\n  \"ID\": 1,\n  \"Name\": \"x\"\n}\n", user{1, "x"})},
	})
}

func TestJSONRefuses(t *testing.T) {
	run(t, []row{
		{"nan", refuses[float64](dogpile.JSON, `NaN`, "'N'")},
		{"inf", refuses[any](dogpile.JSON, `[Infinity]`, "'I'")},
		{"-inf", refuses[any](dogpile.JSON, `-Infinity`, "'I'")},
		{"nothing", refuses[any](dogpile.JSON, ``, "EOF")},
		{"cut short", refuses[any](dogpile.JSON, `{"a": [1`, "EOF")},
		{"two values", refuses[int](dogpile.JSON, `1 2`, "something follows")},
		{"trailing brace", refuses[user](dogpile.JSON, `{"ID": 1}}`, "something follows")},
		{"pickle", refuses[any](dogpile.JSON, "\x80\x04K\x01.", "invalid character")},
		{"deep", refuses[any](dogpile.JSON, strings.Repeat("[", 1e6), "depth")},
		{"wrong type", refuses[int](dogpile.JSON, `"x"`, "int")},
		{"too large", refuses[int](dogpile.JSON, `1180591620717411303424`, "int")},
		{"fraction", refuses[int](dogpile.JSON, `1.5`, "int")},
		{"null into int", refuses[int](dogpile.JSON, ` null `, "cannot decode null into *int")},
		{"null into string", refuses[string](dogpile.JSON, `null`, "*string")},
		{"null into bool", refuses[bool](dogpile.JSON, `null`, "*bool")},
		{"null into struct", refuses[user](dogpile.JSON, `null`, "user")},
		{"null into array", refuses[[2]int](dogpile.JSON, `null`, "*[2]int")},
		{"null into time", refuses[time.Time](dogpile.JSON, `null`, "*time.Time")},
		{"null into addr", refuses[netip.Addr](dogpile.JSON, `null`, "*netip.Addr")},
		{"null into number", refuses[json.Number](dogpile.JSON, `null`, "*json.Number")},
	})
}

func TestBytes(t *testing.T) {
	run(t, []row{
		{"bytes", roundTrip(dogpile.Bytes, []byte("a|\x00\xff"), "a|\x00\xff")},
		{"empty", roundTrip(dogpile.Bytes, []byte{}, "")},
		{"named", roundTrip(dogpile.Bytes, blob("x"), "x")},
		{"named empty", roundTrip(dogpile.Bytes, blob{}, "")},
		{"raw message", roundTrip(dogpile.Bytes, json.RawMessage("{"), "{")},

		{"string", cannotEncode(dogpile.Bytes, "x", "bytes: cannot encode string")},
		{"pointer", cannotEncode(dogpile.Bytes, new([]byte), "*[]uint8")},
		{"nil", cannotEncode(dogpile.Bytes, nil, "<nil>")},
		{"ints", cannotEncode(dogpile.Bytes, []int{1}, "[]int")},
		{"into string", refuses[string](dogpile.Bytes, "x", "bytes: cannot decode into *string")},
		{"into any", refuses[any](dogpile.Bytes, "x", "*interface {}")},
	})
}

func TestBytesNil(t *testing.T) {
	t.Parallel()
	data, err := dogpile.Bytes.Append(nil, []byte(nil))
	got := []byte("before")
	if err := errors.Join(err, dogpile.Bytes.Decode(data, &got)); err != nil || got == nil || len(got) != 0 {
		t.Errorf("a nil slice came back as %#v, %v; want an empty one", got, err)
	}
}

// Data is shared by everybody who reads the entry.
func TestBytesCopies(t *testing.T) {
	t.Parallel()
	data := []byte("abc")
	var b []byte
	var n blob
	if err := errors.Join(dogpile.Bytes.Decode(data, &b), dogpile.Bytes.Decode(data, &n)); err != nil {
		t.Fatal(err)
	}
	b[0], n[1] = 'x', 'x'
	if string(data) != "abc" {
		t.Errorf("shared data became %q", data)
	}
}

func TestText(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 1, time.UTC)
	addr := netip.MustParseAddr("10.0.0.1")
	run(t, []row{
		{"string", roundTrip(dogpile.Text, "a|é\x00", "a|é\x00")},
		{"empty", roundTrip(dogpile.Text, "", "")},
		{"named", roundTrip(dogpile.Text, word("x"), "x")},
		{"value", roundTrip(dogpile.Text, noon, "2026-11-22T12:00:00.000000001Z")},
		{"pointer", roundTrip(dogpile.Text, &addr, "10.0.0.1")},
		{"pointer receiver", roundTrip(dogpile.Text, *big.NewInt(12), "12")},
		{"pointer to it", roundTrip(dogpile.Text, big.NewInt(12), "12")},
		{"reads no text of its own", roundTrip(dogpile.Text, written("x"), "x")},

		{"int", cannotEncode(dogpile.Text, 1, "text: type int: it is neither a string")},
		{"nil", cannotEncode(dogpile.Text, nil, "<nil>")},
		{"nil pointer", cannotEncode(dogpile.Text, (*netip.Addr)(nil), "nil *netip.Addr")},
		{"string pointer", cannotEncode(dogpile.Text, new(string), "*string")},
		{"year 10000", cannotEncode(dogpile.Text, noon.AddDate(9000, 0, 0), "year")},
		{"into int", refuses[int](dogpile.Text, "1", "text: cannot decode into *int")},
		{"into string pointer", refuses[*string](dogpile.Text, "1", "**string")},
		{"malformed", refuses[netip.Addr](dogpile.Text, "10.0.0", "10.0.0")},
		{"malformed for a pointer", refuses[*netip.Addr](dogpile.Text, "10.0.0", "10.0.0")},
	})
}

func TestDecodeIntoNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []dogpile.Codec{dogpile.JSON, dogpile.Bytes, dogpile.Text} {
		for _, v := range []any{nil, 1, (*string)(nil), (*[]byte)(nil), user{}} {
			if err := c.Decode([]byte(`"x"`), v); err == nil {
				t.Errorf("%T: no error for a %T", c, v)
			}
		}
	}
}

func TestCodecNamed(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]dogpile.Codec{"json": dogpile.JSON, "bytes": dogpile.Bytes, "text": dogpile.Text} {
		if c, err := dogpile.CodecNamed(name); c != want || err != nil {
			t.Errorf("%s: %T, %v", name, c, err)
		}
	}
	_, err := dogpile.CodecNamed("xml")
	if err == nil || !strings.HasPrefix(err.Error(), `unknown codec "xml" (forgotten import?); known: bytes, json, te`) {
		t.Errorf("got %v", err)
	}
}

// registerRuns counts them, because a name is taken for the life of the process.
var registerRuns atomic.Int64

func TestRegister(t *testing.T) {
	t.Parallel()
	upper := func(key string) string { return strings.ToUpper(key) }
	name := fmt.Sprintf("test %d", registerRuns.Add(1))
	dogpile.RegisterCodec(name, dogpile.Text)
	dogpile.RegisterMangler(name, upper)
	if c, err := dogpile.CodecNamed(name); c != dogpile.Text || err != nil {
		t.Errorf("%T, %v", c, err)
	}
	if m, err := dogpile.ManglerNamed(name); err != nil || m("a") != "A" {
		t.Errorf("%v", err)
	}
	for _, row := range []struct {
		want string
		call func()
	}{
		{"dogpile: codec x is registered as nil", func() { dogpile.RegisterCodec("x", nil) }},
		{"dogpile: codec json is registered twice", func() { dogpile.RegisterCodec("json", dogpile.JSON) }},
		{"dogpile: codec is registered without a name", func() { dogpile.RegisterCodec("", dogpile.JSON) }},
		{"dogpile: mangler x is registered as nil", func() { dogpile.RegisterMangler("x", nil) }},
		{"dogpile: mangler sha1 is registered twice", func() { dogpile.RegisterMangler("sha1", upper) }},
		{"dogpile: Chain of a nil Mangler", func() { dogpile.Chain(upper, nil) }},
		{"dogpile: IfLonger of a nil Mangler", func() { dogpile.IfLonger(1, nil) }},
	} {
		if got := panicOf(row.call); got != row.want {
			t.Errorf("panic %v, want %s", got, row.want)
		}
	}
}

func panicOf(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

// FuzzJSON: no data makes Decode panic, or yields a value that is not read
// back as the same.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"foo": ["bar", 1, false, null], "\u00e9": "\u03c0|pipe"}`, `NaN`, `null`, `1180591620717411303424`, `""`, ` 1 `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v, back any
		if dogpile.JSON.Decode(data, &v) != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("read %q as %#v", data, v)
		}
		again, err := dogpile.JSON.Append(nil, v)
		if err := errors.Join(err, dogpile.JSON.Decode(again, &back)); err != nil || !reflect.DeepEqual(v, back) {
			t.Fatalf("%q was read as %#v, written as %q, read as %#v, %v", data, v, again, back, err)
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	v := user{1, "Name of the user"}
	data, err := dogpile.JSON.Append(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Append", func(b *testing.B) {
		b.ReportAllocs()
		dst := make([]byte, 0, 256)
		for b.Loop() {
			dst, _ = dogpile.JSON.Append(dst[:0], v)
		}
	})
	b.Run("Decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v user
			if err := dogpile.JSON.Decode(data, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}
