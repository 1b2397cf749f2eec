package cbor_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/codec/cbor"
)

type (
	user struct {
		ID   int
		Name string
		Tags []string       `json:"tags,omitempty"`
		More map[string]any `cbor:"m,omitempty"`
		At   time.Time
	}
	// wide makes much memory of few bytes, if it can be made to.
	wide struct {
		A [64]int64
		W []wide
	}
	secret struct{ s string }
)

func (s *secret) MarshalBinary() ([]byte, error) { return []byte(s.s), nil }
func (s *secret) UnmarshalBinary(b []byte) error { s.s = string(b); return nil }
func roundTrip[V any](v V) func(*testing.T)      { return becomes(v, v) }
func becomes[V any](v, want V) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		data, err := cbor.Codec.Append([]byte("|"), v)
		if err != nil || !bytes.HasPrefix(data, []byte("|")) {
			t.Fatalf("Append(%#v) = %x, %v", v, data, err)
		}
		var got V
		if err := cbor.Codec.Decode(data[1:], &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%#v was written as %x and read as %#v, %v", v, data[1:], got, err)
		}
	}
}

func refuses[V any](data, want string) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		raw, err := hex.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		var got V
		if err := cbor.Codec.Decode(raw, &got); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Decode(%.40s) = %#v, %v; want an error with %q", data, got, err, want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)
	huge := new(big.Int).Lsh(big.NewInt(1), 70)
	for _, row := range []struct {
		name string
		test func(*testing.T)
	}{
		{"struct", roundTrip(user{1, "é|", []string{"a", ""}, map[string]any{"n": int64(1)}, noon})},
		{"zero struct", roundTrip(user{})},
		{"pointer", roundTrip(&user{ID: 1})},
		{"nil pointer", roundTrip((*user)(nil))},
		{"int", roundTrip(int64(math.MinInt64))},
		{"uint", roundTrip(uint64(math.MaxUint64))},
		{"float", roundTrip(0.1)},
		{"infinity", roundTrip(math.Inf(-1))},
		{"bool", roundTrip(false)},
		{"empty string", roundTrip("")},
		{"string that is not UTF-8", roundTrip("a\xff")},
		{"bytes", roundTrip([]byte("a\x00\xff"))},
		{"empty bytes", roundTrip([]byte{})},
		{"nil bytes", roundTrip([]byte(nil))},
		{"nil map", roundTrip(map[string]int(nil))},
		{"empty map", roundTrip(map[string]int{})},
		{"map of ints", roundTrip(map[int]string{1: "a", -1: "b"})},
		{"nil interface", roundTrip[any](nil)},
		{"big", roundTrip(*huge)},
		{"big pointer", roundTrip(huge)},
		{"time", roundTrip(noon)},
		{"zero time", roundTrip(time.Time{})},
		{"duration", roundTrip(time.Minute)},
		{"text methods", roundTrip(netip.MustParsePrefix("10.0.0.0/8"))},
		{"text methods alone", roundTrip(regexp.MustCompile("a+"))},
		{"binary methods", roundTrip(url.URL{Scheme: "http", Host: "example.org", Path: "/"})},
		{"pointer receiver", roundTrip(secret{"x"})},
		{"pointer receiver in a field", roundTrip(struct{ S secret }{secret{"x"}})},
		{"interfaces", roundTrip[any](map[string]any{"a": []any{int64(1), int64(-1), 2.5, "x", true, nil, []byte{1}, *huge, noon}})},
		{"int in an interface", becomes[any](uint8(1), int64(1))},
	} {
		t.Run(row.name, row.test)
	}
}

func TestNaN(t *testing.T) {
	t.Parallel()
	data, err := cbor.Codec.Append(nil, math.NaN())
	var f float64
	if err := errors.Join(err, cbor.Codec.Decode(data, &f)); err != nil || !math.IsNaN(f) {
		t.Errorf("NaN became %v, %v", f, err)
	}
}

// One value has one encoding, whatever the order of its map.
func TestDeterministic(t *testing.T) {
	t.Parallel()
	v := map[string]int{}
	for i := range 50 {
		v[fmt.Sprint(i)] = i
	}
	first, err := cbor.Codec.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if again, err := cbor.Codec.Append(nil, v); err != nil || !bytes.Equal(first, again) {
			t.Fatalf("%x, then %x, %v", first, again, err)
		}
	}
}

func TestCannotEncode(t *testing.T) {
	t.Parallel()
	for _, v := range []any{make(chan int), func() {}} {
		if data, err := cbor.Codec.Append([]byte("x"), v); err == nil || string(data) != "x" {
			t.Errorf("%T: %x, %v", v, data, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		test func(*testing.T)
	}{
		{"nothing", refuses[any]("", "EOF")},
		{"cut short", refuses[any]("8201", "EOF")},
		{"trailing byte", refuses[int]("0100", "extraneous")},
		{"trailing null", refuses[any]("f6f6", "extraneous")},
		{"two keys in a map", refuses[map[string]int]("a2616101616102", "duplicate")},
		{"two keys in an interface", refuses[any]("a2616101616102", "duplicate")},
		{"two keys in a struct", refuses[user]("a26249440162494402", "duplicate")},
		{"too deep", refuses[any](strings.Repeat("81", cbor.MaxNesting+1)+"01", "nested")},
		{"tags too deep", refuses[any](strings.Repeat("d8ff", cbor.MaxNesting+2)+"01", "nested")},
		{"wrong type", refuses[int]("6161", "cannot unmarshal")},
		{"too large", refuses[int8]("190100", "cannot unmarshal")},
		{"map of ints in an interface", refuses[any]("a10102", "type string")},
		{"null into int", refuses[int]("f6", "cannot decode null into *int")},
		{"undefined into int", refuses[int]("f7", "*int")},
		{"null into string", refuses[string]("f6", "*string")},
		{"null into struct", refuses[user]("f6", "user")},
		{"null into array", refuses[[2]int]("f6", "*[2]int")},
		{"tagged null", refuses[string]("d9d9f7f6", "*string")},
		{"twice tagged null", refuses[int]("d9d9f7c6f7", "*int")},
		{"pickle", refuses[any]("80044b012e", "")},
	} {
		t.Run(row.name, row.test)
	}
}

func TestDecodeIntoNothing(t *testing.T) {
	t.Parallel()
	for _, v := range []any{nil, 1, (*int)(nil)} {
		if err := cbor.Codec.Decode([]byte{1}, v); err == nil {
			t.Errorf("no error for a %T", v)
		}
	}
}

// allocated returns how many bytes f allocates. Nothing else may run.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// decodeAll decodes data into values of several types.
func decodeAll(data []byte) {
	_ = cbor.Codec.Decode(data, new(any))
	_ = cbor.Codec.Decode(data, new(user))
	_ = cbor.Codec.Decode(data, new([]wide))
	_ = cbor.Codec.Decode(data, new(map[string]wide))
	_ = cbor.Codec.Decode(data, new([]byte))
	_ = cbor.Codec.Decode(data, new(string))
	_ = cbor.Codec.Decode(data, new(big.Int))
}

// bound is what decodeAll may allocate: a wide or two for each byte.
func bound(data []byte) uint64 { return 1<<17 + 4096*uint64(len(data)) }

// Lengths that are written in the data, but not there, cost nothing.
func TestHostileLengths(t *testing.T) {
	for _, head := range []string{
		"9bffffffffffffffff", "9b7fffffffffffffff", "9affffffff", "9a00400000", "9f", "99ffff", // arrays
		"bbffffffffffffffff", "bb7fffffffffffffff", "baffffffff", "ba00400000", "bf", // maps
		"5bffffffffffffffff", "5b7fffffffffffffff", "5affffffff", "5f5affffffff", // bytes
		"7bffffffffffffffff", "7b7fffffffffffffff", "7affffffff", "7f7affffffff", // text
		"c25b7fffffffffffffff", "c35affffffff", "c074", "c1fb", // tagged
	} {
		for _, rest := range []string{"", "00", "f6f6f6f6", "9b7fffffffffffffff", strings.Repeat("80", 100), strings.Repeat(head, 50)} {
			data, err := hex.DecodeString(head + rest)
			if err != nil {
				t.Fatal(err)
			}
			if n := allocated(func() { decodeAll(data) }); n > bound(data) {
				t.Errorf("%s, %d bytes in all: %d bytes allocated", head, len(data), n)
			}
		}
	}
}

// Nor does a bit that has flipped.
func TestFlippedBits(t *testing.T) {
	data, err := cbor.Codec.Append(nil, user{1, "name", []string{"a", "b"}, map[string]any{"n": 1.5, "b": []byte("xyz")}, time.Unix(1795335672, 5).UTC()})
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(data) * 8 {
		flipped := bytes.Clone(data)
		flipped[bit/8] ^= 1 << (bit % 8)
		if n := allocated(func() { decodeAll(flipped) }); n > bound(flipped) {
			t.Errorf("bit %d: %d bytes allocated", bit, n)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"01", "f6", "d9d9f7f6", "a2616101616202", "9f01ff", "5f4101ff", "9b7fffffffffffffff", "c2490fffffffffffffffff"} {
		data, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		if n := allocated(func() { decodeAll(data) }); n > bound(data) {
			t.Fatalf("%x: %d bytes allocated", data, n)
		}
		if !bytes.Equal(data, before) {
			t.Fatal("Decode wrote to its input")
		}
		var v, back any
		if cbor.Codec.Decode(data, &v) != nil {
			return
		}
		first, err := cbor.Codec.Append(nil, v)
		if err != nil {
			return // a time that has no text, as year 10000
		}
		if err := cbor.Codec.Decode(first, &back); err != nil {
			t.Fatalf("%x was read as %#v, written as %x, and then %v", data, v, first, err)
		}
		if again, err := cbor.Codec.Append(nil, back); err != nil || !bytes.Equal(first, again) {
			t.Fatalf("%#v was written as %x, read as %#v, written as %x, %v", v, first, back, again, err)
		}
	})
}

func Benchmark(b *testing.B) {
	v := user{1, "Name of the user", []string{"a", "b"}, nil, time.Unix(1795335672, 5).UTC()}
	data, err := cbor.Codec.Append(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Append", func(b *testing.B) {
		b.ReportAllocs()
		dst := make([]byte, 0, 256)
		for b.Loop() {
			dst, _ = cbor.Codec.Append(dst[:0], v)
		}
	})
	b.Run("Decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v user
			if err := cbor.Codec.Decode(data, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}
