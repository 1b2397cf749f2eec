package funckey_test

import (
	"errors"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/funckey"
)

type (
	id      int64
	name    string
	point   struct{ X, Y int }
	byValue struct{ n int }
	byRef   struct{ n int }
	noText  struct{ Bad bool }
	keyed   interface{ CacheKey() string }
	node    struct{ Next *node }
	tags    map[string]bool
	hidden  struct {
		at   time.Time
		key  byRef
		keys []keyed
	}
	stamped struct {
		time.Time
		ID int
	}
	promoted struct {
		byValue
		Other int
	}
	list  []list
	blank struct {
		_ [0]func()
		A int
	}
	level uint8
)

func (k byValue) CacheKey() string           { return "v|" + strings.Repeat("x", k.n) }
func (k *byRef) CacheKey() string            { return "r|" + strings.Repeat("x", k.n) }
func (k tags) CacheKey() string              { return "tags" }
func (l level) MarshalText() ([]byte, error) { return []byte{'L', '0' + byte(l)}, nil }
func (t noText) MarshalText() ([]byte, error) {
	if t.Bad {
		return nil, errors.New("out of order")
	}
	return nil, nil
}

// key is what the encoder of A makes of a.
func key[A any](t testing.TB, a A) string {
	t.Helper()
	enc, err := funckey.For[A]()
	if err != nil {
		t.Fatalf("For[%T]: %v", a, err)
	}
	k, err := enc.Append([]byte("f|"), &a)
	if err != nil {
		t.Fatalf("Append(%#v): %v", a, err)
	}
	return string(k)
}

func ptr[A any](a A) *A { return &a }

// form is a key and what it should be, without the name.
type form struct{ got, want string }

func checkForms(t *testing.T, rows []form) {
	t.Helper()
	for _, row := range rows {
		if row.got != "f|"+row.want {
			t.Errorf("got %s, want f|%s", row.got, row.want)
		}
	}
}

func TestFormOfScalars(t *testing.T) {
	t.Parallel()
	checkForms(t, []form{
		{key(t, true), "true"},
		{key(t, -42), "-42"},
		{key(t, int8(-128)), "-128"},
		{key(t, uint64(math.MaxUint64)), "18446744073709551615"},
		{key(t, id(7)), "7"},
		{key(t, 'a'), "97"},
		{key(t, 1.0), "1"},
		{key(t, 1e21), "1e+21"},
		{key(t, float32(0.1)), "0.1"},
		{key(t, math.NaN()), "NaN"},
		{key(t, math.Inf(1)), "+Inf"},
		{key(t, math.Copysign(0, -1)), "-0"},
		{key(t, complex(1, -2)), "(1,-2)"},
		{key(t, complex64(0.1i)), "(0,0.1)"},
		{key(t, ""), ""},
		{key(t, "a-b._~:/@+=Z9"), "a-b._~:/@+=Z9"},
		{key(t, "a b|c,(d)[e]!%*{}é\x00\n\x7f\""), "a%20b%7Cc%2C%28d%29%5Be%5D%21%25%2A%7B%7D%C3%A9%00%0A%7F%22"},
		{key(t, name("a b")), "a%20b"},
		{key(t, []byte("a\xff")), "a%FF"},
		{key(t, []byte(nil)), "!"},
		{key(t, []byte{}), ""},
		{key(t, [2]byte{'a', 0}), "a%00"},
	})
}

func TestFormOfStructsAndLists(t *testing.T) {
	t.Parallel()
	checkForms(t, []form{
		{key(t, []int{1, 2}), "[1,2]"},
		{key(t, []string(nil)), "!"},
		{key(t, []string{}), "[]"},
		{key(t, []string{""}), "[%]"},
		{key(t, []string{"", "", "a"}), "[%,%,a]"},
		{key(t, [][]string{{"a", "b"}, nil, {}}), "[[a,b],!,[]]"},
		{key(t, [3]bool{true}), "[true,false,false]"},
		{key(t, struct{}{}), ""},
		{key(t, []struct{}{{}}), "[()]"},
		{key(t, point{1, 2}), "1,2"},
		{key(t, &point{1, 2}), "(1,2)"},
		{key(t, (*point)(nil)), "!"},
		{key(t, ptr(&point{1, 2})), "*(1,2)"},
		{key(t, ptr((*point)(nil))), "*!"},
		{key(t, ptr([]int(nil))), "*!"},
		{key(t, ptr("!")), "%21"},
		{key(t, struct {
			A string
			b point
			C *int
		}{"x", point{1, 2}, nil}), "x,(1,2),!"},
		{key(t, struct{ point }{point{1, 2}}), "(1,2)"},
		{key(t, blank{A: 1}), "1"},
	})
}

func TestFormOfTypesWithMethods(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 22, 12, 0, 0, 500, time.FixedZone("here", 3600))
	var nilKeyed keyed
	checkForms(t, []form{
		{key(t, []level{1, 2}), "[L1,L2]"},
		{key(t, byValue{1}), "v%7Cx"},
		{key(t, &byValue{1}), "v%7Cx"},
		{key(t, byRef{2}), "r%7Cxx"},
		{key(t, &byRef{2}), "r%7Cxx"},
		{key(t, (*byRef)(nil)), "!"},
		{key[keyed](t, &byRef{1}), "r%7Cx"},
		{key[keyed](t, byValue{1}), "v%7Cx"},
		{key(t, nilKeyed), "!"},
		{key(t, &nilKeyed), "*!"},
		{key(t, tags{"a": true}), "tags"},
		{key(t, hidden{noon, byRef{1}, []keyed{byValue{}, &byRef{}}}), "2026-11-22T12:00:00.0000005+01:00,r%7Cx,[v%7C,r%7C]"},
		{key(t, noon), "2026-11-22T12:00:00.0000005+01:00"},
		{key(t, &noon), "2026-11-22T12:00:00.0000005+01:00"},
		{key(t, stamped{noon, 7}), "2026-11-22T12:00:00.0000005+01:00,7"},
		{key(t, *big.NewInt(12)), "12"},
		{key(t, netip.MustParsePrefix("10.0.0.0/8")), "10.0.0.0/8"},
		{key(t, time.Second), "1000000000"},
		{key(t, []noText{{}}), "[%]"},
	})
}

func TestAppendName(t *testing.T) {
	t.Parallel()
	if got := string(funckey.AppendName([]byte("users:"), "one|foo é")); got != "users:one%7Cfoo%20%C3%A9" {
		t.Error(got)
	}
}

func refusal[A any]() error {
	_, err := funckey.For[A]()
	return err
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err  error
		want string
	}{
		{refusal[func()](), "argument of type func() cannot be part of a key: wrap it in a type with a CacheKey method"},
		{refusal[chan int](), "argument of type chan int"},
		{refusal[map[string]int](), "argument of type map[string]int"},
		{refusal[uintptr](), "argument of type uintptr"},
		{refusal[any](), "argument of type interface {} cannot be part of a key: of interfaces only"},
		{refusal[error](), "argument of type error"},
		{refusal[node](), "argument field Next of type funckey_test.node cannot be part of a key: it contains itself"},
		{refusal[*node](), "argument field Next of type *funckey_test.node"},
		{refusal[list](), "argument field [] of type funckey_test.list cannot be part of a key: it contains itself"},
		{refusal[struct{ A struct{ B []map[int]int } }](), "argument field A.B[] of type map[int]int"},
		{refusal[struct {
			A point
			B *[2]func()
		}](), "argument field B[] of type func()"},
		{refusal[struct{ mu sync.Mutex }](), "argument field mu of type sync.Mutex cannot be part of a key: it is a lock"},
		{refusal[*sync.RWMutex](), "argument of type sync.RWMutex"},
		{refusal[struct{ n atomic.Int64 }](), "it is a lock"},
		{refusal[promoted](), "argument of type funckey_test.promoted cannot be part of a key: an embedded field has a CacheKey method"},
		{refusal[struct{ P promoted }](), "argument field P of type funckey_test.promoted"},
		{refusal[struct{ keyed }](), "an embedded field has a CacheKey method"},
	} {
		if row.err == nil || !strings.Contains(row.err.Error(), row.want) {
			t.Errorf("got %v, want %s", row.err, row.want)
		}
	}
}

func TestAppendFails(t *testing.T) {
	t.Parallel()
	enc, err := funckey.For[struct {
		A int
		B []noText
	}]()
	if err != nil {
		t.Fatal(err)
	}
	_, err = enc.Append(nil, &struct {
		A int
		B []noText
	}{1, []noText{{Bad: true}}})
	if err == nil || err.Error() != "argument field B[] of type funckey_test.noText: out of order" {
		t.Error(err)
	}

	keyedEnc, err := funckey.For[keyed]()
	if err != nil {
		t.Fatal(err)
	}
	a := keyed((*byRef)(nil))
	if _, err = keyedEnc.Append(nil, &a); err == nil || err.Error() != "argument is a nil *funckey_test.byRef in an interface" {
		t.Error(err)
	}
}

// An encoder serves many goroutines and keeps nothing of one call for another.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	enc, err := funckey.For[[]string]()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			arg := []string{strings.Repeat("a", i)}
			want := "[" + arg[0] + "]"
			if i == 0 {
				want = "[%]"
			}
			for range 200 {
				if got, err := enc.Append(nil, &arg); err != nil || string(got) != want {
					t.Errorf("got %s, %v, want %s", got, err, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestAllocations(t *testing.T) {
	testAllocations(t, 42, 0)
	testAllocations(t, "user name", 0)
	testAllocations(t, id(42), 0)
	testAllocations(t, name("x"), 0)
	testAllocations(t, 2.5, 0)
	testAllocations(t, point{1, 2}, 0)
	testAllocations(t, struct {
		A string
		B []int
		C *point
	}{"a", []int{1, 2}, &point{1, 2}}, 0)
	testAllocations(t, time.Unix(1795335672, 0), 1)
}

func testAllocations[A any](t *testing.T, a A, want float64) {
	t.Helper()
	enc, err := funckey.For[A]()
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 0, 256)
	allocs := testing.AllocsPerRun(200, func() {
		arg := a
		dst, err = enc.Append(dst[:0], &arg)
	})
	if err != nil || int(allocs) > int(want) {
		t.Errorf("%T: %v allocations, want %v; %v", a, allocs, want, err)
	}
}

func benchmark[A any](b *testing.B, a A) {
	enc, err := funckey.For[A]()
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, 0, 256)
	b.ReportAllocs()
	b.Run(reflect.TypeFor[A]().String(), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			arg := a
			dst, _ = enc.Append(dst[:0], &arg)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	benchmark(b, 123456)
	benchmark(b, id(123456))
	benchmark(b, "user-name-123456")
	benchmark(b, 2.5)
	benchmark(b, point{123, 456})
	benchmark(b, []string{"a", "b c"})
	benchmark(b, time.Unix(1795335672, 0))
}
