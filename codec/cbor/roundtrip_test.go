package cbor_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"reflect"
	"testing"
	"time"

	upstream "github.com/fxamacker/cbor/v2"

	"github.com/dogpile-go/dogpile/codec/cbor"
	"github.com/dogpile-go/dogpile/internal/roundtrip/roundtriptest"
)

type (
	word string
	tree struct {
		Name string
		Kids []*tree `cbor:",omitempty"`
		More map[string]tree
	}
	base   struct{ ID int }
	Owner  struct{ Rank any }
	embeds struct {
		base
		*Owner
		Name string
	}
	inArray struct {
		_ struct{} `cbor:",toarray"`
		base
		A any
		B *int
	}
	place struct{ X, Y int8 }
)

// generator makes types and values of all that CBOR has to do with.
func generator(seed uint64) *roundtriptest.Gen {
	zones := []*time.Location{time.UTC, time.FixedZone("x", 3600), time.FixedZone("LMT", 1172), time.FixedZone("", -90*60)}
	instant := func(r *rand.Rand) any {
		switch r.IntN(8) {
		case 0:
			return time.Time{}
		case 1:
			return time.Date(10000+r.IntN(2), 1, 1, 0, 0, 0, 0, time.UTC)
		}
		return time.Unix(r.Int64N(1<<33), r.Int64N(1e9)).In(zones[r.IntN(len(zones))])
	}
	raws := []upstream.RawMessage{nil, {0xf6}, {0x01}, {0xc0, 0xf6}, {0x81}}
	return &roundtriptest.Gen{
		Rand: rand.New(rand.NewPCG(seed, 1)),
		Leaves: []reflect.Type{
			reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[uint64](), reflect.TypeFor[uintptr](),
			reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[word](), reflect.TypeFor[byte](),
			reflect.TypeFor[any](), reflect.TypeFor[time.Time](), reflect.TypeFor[time.Duration](), reflect.TypeFor[upstream.RawMessage](),
			reflect.TypeFor[upstream.SimpleValue](), reflect.TypeFor[big.Int](), reflect.TypeFor[netip.Addr](), reflect.TypeFor[url.URL](),
			reflect.TypeFor[tree](), reflect.TypeFor[embeds](), reflect.TypeFor[inArray](), reflect.TypeFor[secret](), reflect.TypeFor[error](),
		},
		Keys: []reflect.Type{
			reflect.TypeFor[string](), reflect.TypeFor[word](), reflect.TypeFor[int16](), reflect.TypeFor[uint](), reflect.TypeFor[float32](),
			reflect.TypeFor[netip.Addr](), reflect.TypeFor[time.Time](), reflect.TypeFor[place](), reflect.TypeFor[[2]byte](), reflect.TypeFor[bool](),
			reflect.TypeFor[struct{ A any }](), reflect.TypeFor[any](),
		},
		Tags: []string{``, ``, ``, `cbor:",omitempty"`, `cbor:",omitzero"`, `cbor:"1,keyasint"`, `json:"-"`, `json:"a,omitempty"`, `cbor:"F1"`},
		Make: map[reflect.Type]func(r *rand.Rand) any{
			reflect.TypeFor[time.Time]():            instant,
			reflect.TypeFor[upstream.RawMessage]():  func(r *rand.Rand) any { return raws[r.IntN(len(raws))] },
			reflect.TypeFor[upstream.SimpleValue](): func(r *rand.Rand) any { return upstream.SimpleValue(r.IntN(64)) },
			reflect.TypeFor[big.Int]():              func(r *rand.Rand) any { return *new(big.Int).Lsh(big.NewInt(r.Int64()-1<<62), 70) },
			reflect.TypeFor[netip.Addr]():           func(r *rand.Rand) any { return netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(3))}) },
			reflect.TypeFor[secret]():               func(*rand.Rand) any { return secret{"\xff"} },
			reflect.TypeFor[url.URL]():              func(*rand.Rand) any { return url.URL{Scheme: "http", Host: "h", User: url.User("u")} },
		},
		Held: []func(r *rand.Rand) any{
			func(r *rand.Rand) any { return "\xff" },
			func(r *rand.Rand) any { return r.Uint64() },
			func(r *rand.Rand) any { return float32(1.5) },
			func(r *rand.Rand) any { return math.Inf(1) },
			func(r *rand.Rand) any { return true },
			func(r *rand.Rand) any { return base{1} },
			func(r *rand.Rand) any { return word("x") },
			func(r *rand.Rand) any { return []byte("x") },
			func(r *rand.Rand) any { return []byte(nil) },
			func(r *rand.Rand) any { return []string{"x"} },
			func(r *rand.Rand) any { return map[string]any(nil) },
			func(r *rand.Rand) any { return (*int)(nil) },
			func(r *rand.Rand) any { return *big.NewInt(5) },
			func(r *rand.Rand) any { return big.NewInt(5) },
			instant,
		},
	}
}

// differ knows what comes back differently from CBOR and equal all the same.
var differ = roundtriptest.Differ{Tags: []string{"cbor", "json"}, Same: func(a, b any) (same, known bool) {
	switch a := a.(type) {
	case time.Time:
		b, ok := b.(time.Time)
		return ok && a.Equal(b) && a.Format(time.RFC3339) == b.Format(time.RFC3339), true
	case netip.Addr:
		return a == b, true
	case url.URL:
		b, ok := b.(url.URL)
		return ok && a.String() == b.String(), true
	case secret:
		return a == b, true
	case int, uint64, float32, big.Int:
		if x, y := number(a), number(b); x != nil && y != nil {
			return x.Cmp(y) == 0, true
		}
	}
	return false, false
}}

func number(v any) *big.Float {
	switch v := v.(type) {
	case int:
		return new(big.Float).SetInt64(int64(v))
	case int64:
		return new(big.Float).SetInt64(v)
	case uint64:
		return new(big.Float).SetUint64(v)
	case float32:
		return big.NewFloat(float64(v))
	case float64:
		return big.NewFloat(v)
	case big.Int:
		return new(big.Float).SetInt(&v)
	}
	return nil
}

type outcomes struct{ types, refused, stored int }

// TestGivesBack: of any type that is not refused, any value that is not refused
// comes back as it was, and no value is refused that would have.
func TestGivesBack(t *testing.T) {
	t.Parallel()
	const types = 2000
	var all outcomes
	for seed := range uint64(types) {
		givesBack(t, seed, &all)
	}
	t.Logf("%+v", all)
	if all.types < types/20 || all.types > types/2 || all.refused < types/2 || all.stored < 2*types {
		t.Error("that is not what it takes to find anything")
	}
}

func FuzzGivesBack(f *testing.F) {
	f.Fuzz(func(t *testing.T, seed uint64) { givesBack(t, seed, new(outcomes)) })
}

func givesBack(t *testing.T, seed uint64, all *outcomes) {
	t.Helper()
	g := generator(seed)
	typ := g.Type(3)
	if err := cbor.Codec.CheckType(typ); err != nil {
		all.types++
		return
	}
	for range 8 {
		v := g.Value(typ, 4)
		handed := v.Interface()
		if typ.Kind() == reflect.Interface {
			handed = v.Addr().Interface()
		}
		data, err := cbor.Codec.Append(nil, handed)
		back := reflect.New(typ)
		if err != nil {
			all.refused++
			if cbor.Unchecked(handed, back.Interface()) == nil && differ.Diff(v, back.Elem()) == "" {
				t.Fatalf("seed %d: %v: %#v was refused, but comes back: %v", seed, typ, v, err)
			}
			continue
		}
		all.stored++
		if err := cbor.Codec.Decode(data, back.Interface()); err != nil {
			t.Fatalf("seed %d: %v: %#v was written as %x: %v", seed, typ, v, data, err)
		}
		if diff := differ.Diff(v, back.Elem()); diff != "" {
			t.Fatalf("seed %d: %v was written as %x%s", seed, typ, data, diff)
		}
	}
}
