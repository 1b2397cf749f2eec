package dogpile_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/roundtrip/roundtriptest"
)

// generator makes types and values of all that JSON has to do with.
func generator(seed uint64) *roundtriptest.Gen {
	zones := []*time.Location{time.UTC, time.FixedZone("x", 3600), time.FixedZone("LMT", 1172), time.FixedZone("", -90*60)}
	instant := func(r *rand.Rand) any { return time.Unix(r.Int64N(1<<33), r.Int64N(1e9)).In(zones[r.IntN(len(zones))]) }
	raws := []json.RawMessage{nil, {}, json.RawMessage("null"), json.RawMessage(" null"), json.RawMessage(`{"a": [1, "\ufffd"]}`), json.RawMessage("{"), json.RawMessage("\"\xff\"")}
	numbers := []json.Number{"", "1", "-1.5e3", "x", "18446744073709551616"}
	return &roundtriptest.Gen{
		Rand: rand.New(rand.NewPCG(seed, 1)),
		Leaves: []reflect.Type{
			reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[uint64](), reflect.TypeFor[uintptr](),
			reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[word](),
			reflect.TypeFor[byte](), reflect.TypeFor[blob](), reflect.TypeFor[any](), reflect.TypeFor[time.Time](), reflect.TypeFor[time.Duration](),
			reflect.TypeFor[json.RawMessage](), reflect.TypeFor[json.Number](), reflect.TypeFor[big.Int](), reflect.TypeFor[netip.Addr](),
			reflect.TypeFor[user](), reflect.TypeFor[tree](), reflect.TypeFor[embeds](), reflect.TypeFor[maybe](), reflect.TypeFor[error](),
		},
		Keys: []reflect.Type{
			reflect.TypeFor[string](), reflect.TypeFor[word](), reflect.TypeFor[int16](), reflect.TypeFor[uint](), reflect.TypeFor[netip.Addr](),
			reflect.TypeFor[time.Time](), reflect.TypeFor[lower](), reflect.TypeFor[bool](),
		},
		Tags: []string{``, ``, ``, `json:",omitempty"`, `json:",omitzero"`, `json:",string"`, `json:"-"`, `json:"a,string,omitempty"`, `json:"é b"`, `json:"F1"`},
		Make: map[reflect.Type]func(r *rand.Rand) any{
			reflect.TypeFor[time.Time]():       instant,
			reflect.TypeFor[json.RawMessage](): func(r *rand.Rand) any { return raws[r.IntN(len(raws))] },
			reflect.TypeFor[json.Number]():     func(r *rand.Rand) any { return numbers[r.IntN(len(numbers))] },
			reflect.TypeFor[big.Int]():         func(r *rand.Rand) any { return *new(big.Int).Lsh(big.NewInt(r.Int64()), 70) },
			reflect.TypeFor[netip.Addr]():      func(r *rand.Rand) any { return netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(3))}) },
			reflect.TypeFor[lower]():           func(r *rand.Rand) any { return lower{[]string{"a", "A", "b"}[r.IntN(3)]} },
			reflect.TypeFor[maybe]():           func(r *rand.Rand) any { s := "x"; return maybe{&s} },
		},
		Held: []func(r *rand.Rand) any{
			func(r *rand.Rand) any { return "a" },
			func(r *rand.Rand) any { return "\xff" },
			func(r *rand.Rand) any { return r.Int() },
			func(r *rand.Rand) any { return float32(1.5) },
			func(r *rand.Rand) any { return true },
			func(r *rand.Rand) any { return json.Number("12") },
			func(r *rand.Rand) any { return user{1, "x"} },
			func(r *rand.Rand) any { return word("x") },
			func(r *rand.Rand) any { return []byte("x") },
			func(r *rand.Rand) any { return []string{"x"} },
			func(r *rand.Rand) any { return map[string]any(nil) },
			func(r *rand.Rand) any { return (*int)(nil) },
			instant,
		},
	}
}

type (
	tree struct {
		Name string
		Kids []*tree `json:",omitempty"`
		More map[string]tree
	}
	base struct {
		ID   int
		note string
	}
	// Owner is exported: an embedded pointer to it can be set.
	Owner  struct{ Rank any }
	embeds struct {
		base
		*Owner
		Name string
	}
	lower struct{ s string } // two of them may have one text
)

func (l lower) MarshalText() ([]byte, error)     { return bytes.ToLower([]byte(l.s)), nil }
func (l *lower) UnmarshalText(data []byte) error { l.s = string(data); return nil }

// differ knows what comes back differently from JSON and equal all the same.
var differ = roundtriptest.Differ{Tags: []string{"json"}, Same: func(a, b any) (same, known bool) {
	switch a := a.(type) {
	case time.Time:
		b, ok := b.(time.Time)
		return ok && a.Equal(b) && a.Format(time.RFC3339) == b.Format(time.RFC3339), true
	case big.Int:
		b, ok := b.(big.Int)
		return ok && a.Cmp(&b) == 0, true
	case json.RawMessage:
		var one, two bytes.Buffer
		b, ok := b.(json.RawMessage)
		if !ok || json.Compact(&one, a) != nil || json.Compact(&two, b) != nil {
			return false, true
		}
		return bytes.Equal(one.Bytes(), two.Bytes()), true
	case netip.Addr, lower:
		return a == b, true
	case maybe:
		b, ok := b.(maybe)
		return ok && reflect.DeepEqual(a.s, b.s), true
	case int, float32, float64:
		if b, ok := b.(json.Number); ok { // in an interface
			return fmt.Sprint(a) == b.String(), true
		}
	}
	return false, false
}}

// TestJSONGivesBack: of any type that is not refused, any value that is not
// refused comes back as it was, and no value is refused that would have.
func TestJSONGivesBack(t *testing.T) {
	t.Parallel()
	const types = 3000
	var all outcomes
	for seed := range uint64(types) {
		givesBack(t, seed, &all)
	}
	t.Logf("%+v", all)
	if all.types < types/20 || all.types > types/2 || all.refused < types/2 || all.stored < 2*types {
		t.Error("that is not what it takes to find anything")
	}
}

func FuzzJSONGivesBack(f *testing.F) {
	f.Fuzz(func(t *testing.T, seed uint64) { givesBack(t, seed, new(outcomes)) })
}

type outcomes struct{ types, refused, stored int }

// givesBack sees what becomes of a few values of one type.
func givesBack(t *testing.T, seed uint64, all *outcomes) {
	t.Helper()
	g := generator(seed)
	typ := g.Type(3)
	if err := dogpile.JSON.(dogpile.TypeChecker).CheckType(typ); err != nil {
		all.types++
		return
	}
	for range 8 {
		v := g.Value(typ, 4)
		data, err := dogpile.JSON.Append(nil, handed(v))
		if err != nil {
			all.refused++
			if back, ok := naively(v); ok && differ.Diff(v, back) == "" {
				t.Fatalf("seed %d: %v: %#v was refused, but comes back: %v", seed, typ, v, err)
			}
			continue
		}
		all.stored++
		back := reflect.New(typ)
		if err := dogpile.JSON.Decode(data, back.Interface()); err != nil {
			t.Fatalf("seed %d: %v: %#v was written as %s: %v", seed, typ, v, data, err)
		}
		if diff := differ.Diff(v, back.Elem()); diff != "" {
			t.Fatalf("seed %d: %v was written as %s%s", seed, typ, data, diff)
		}
	}
}

// handed is v as a Codec is given it.
func handed(v reflect.Value) any {
	if v.Kind() == reflect.Interface {
		return v.Addr().Interface()
	}
	return v.Interface()
}

// naively is what encoding/json makes of v, if it does.
func naively(v reflect.Value) (back reflect.Value, ok bool) {
	data, err := json.Marshal(v.Addr().Interface())
	if err != nil {
		return back, false
	}
	back = reflect.New(v.Type())
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return back.Elem(), d.Decode(back.Interface()) == nil
}
