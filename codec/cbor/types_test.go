package cbor_test

import (
	"io"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	upstream "github.com/fxamacker/cbor/v2"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/codec/cbor"
)

var _ interface {
	dogpile.Codec
	dogpile.TypeChecker
} = cbor.Codec

type (
	stamped struct {
		time.Time
		Note string
	}
	stampedOnly struct{ time.Time }
	priced      struct {
		*big.Int
		Currency string
	}
	jsonOnly   struct{ s string }
	binaryOnly struct{}
	readOnly   struct{}
	shadows    struct {
		base
		ID string
	}
	unsettable struct {
		*base
		Name string
	}
	pointerInArray struct {
		_ struct{} `cbor:",toarray"`
		*Owner
		A int
	}
	oneKey struct {
		A int `cbor:"1,keyasint"`
		B int `cbor:"+1,keyasint"`
	}
	noKey struct {
		A int `cbor:"a,keyasint"`
	}
	keyAndName struct {
		A int `cbor:"1,keyasint"`
		B int `cbor:"1"`
	}
	many int // elements more than MaxElements
	loop *loop
	ring struct{ Next *ring }
)

func (j jsonOnly) MarshalJSON() ([]byte, error)     { return []byte(j.s), nil }
func (j *jsonOnly) UnmarshalJSON(data []byte) error { j.s = string(data); return nil }
func (m many) MarshalCBOR() ([]byte, error) {
	n := cbor.MaxElements + int(m)
	return append([]byte{0x9a, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, make([]byte, n)...), nil
}
func (m *many) UnmarshalCBOR(data []byte) error {
	*m = many(len(data) - 5 - cbor.MaxElements)
	return nil
}

func (binaryOnly) MarshalBinary() ([]byte, error) { return nil, nil }
func (*readOnly) UnmarshalCBOR([]byte) error      { return nil }

func notOfType[T any](want string) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		for range 2 {
			err := cbor.Codec.CheckType(reflect.TypeFor[T]())
			if err == nil || !strings.HasPrefix(err.Error(), "cbor: type ") || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v; want an error with %q", reflect.TypeFor[T](), err, want)
			}
		}
	}
}

func ofType[T any](t *testing.T) {
	t.Parallel()
	if err := cbor.Codec.CheckType(reflect.TypeFor[T]()); err != nil {
		t.Error(err)
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

func TestRefusesTypes(t *testing.T) {
	run(t, []row{
		{"error in a field", notOfType[struct{ P []struct{ Err error } }]("field P[].Err: error is an interface that cannot be decoded")},
		{"io.Reader", notOfType[io.Reader]("io.Reader is an interface")},
		{"pointer to any", notOfType[*any]("a pointer to an interface")},
		{"nothing exported", notOfType[struct{ M sync.Mutex }]("field M: sync.Mutex has no exported field")},
		{"methods for JSON alone", notOfType[jsonOnly]("has no exported field")},
		{"chan", notOfType[chan int]("a chan int cannot be encoded")},
		{"uintptr", notOfType[struct{ U uintptr }]("field U: a uintptr cannot be encoded")},
		{"swallowed", notOfType[stamped]("MarshalBinary of the embedded time.Time is that of cbor_test.stamped too, and loses field Note")},
		{"swallowed pointer", notOfType[priced]("MarshalText of the embedded *big.Int")},
		{"written only", notOfType[binaryOnly]("has MarshalBinary, but no UnmarshalBinary")},
		{"read only", notOfType[readOnly]("has UnmarshalCBOR, but no MarshalCBOR")},
		{"hidden by a shallower field", notOfType[shadows](`fields base.ID and ID are both written as "ID"`)},
		{"one integer key", notOfType[oneKey](`fields A and B are both written as "key 1"`)},
		{"integer key that is none", notOfType[noKey](`field A: the key "a" is no integer`)},
		{"embedded pointer", notOfType[unsettable]("cannot be set when it is embedded")},
		{"embedded pointer in an array", notOfType[pointerInArray]("would not come back as nil from an array")},
		{"Tag", notOfType[struct{ T upstream.Tag }]("field T: what a cbor.Tag holds")},
		{"keys that are interfaces", notOfType[map[any]int]("a key of type interface {} would come back as another type")},
		{"keys that are pointers", notOfType[map[*int]int]("a key of type *int would come back as another pointer")},
		{"keys that lose something", notOfType[map[stamped]int]("loses field Note")},
		{"points to itself", notOfType[loop]("points to itself")},

		{"time alone", ofType[stampedOnly]},
		{"pointer receivers in a map", ofType[map[string]secret]},
		{"keys of structs", ofType[map[place]int]},
		{"integer key and name alike", ofType[keyAndName]},
		{"RawTag", ofType[upstream.RawTag]},
		{"recursive", ofType[tree]},
	})
}

func cannotEncode(v any, want string) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		if data, err := cbor.Codec.Append([]byte("x"), v); err == nil || !strings.Contains(err.Error(), want) || string(data) != "x" {
			t.Errorf("Append(%T) = %.40x, %v; want an error with %q", v, data, err, want)
		}
	}
}

func TestRefusesValues(t *testing.T) {
	type when struct{ At *time.Time }
	nothing, odd := (*int)(nil), time.Date(1900, 1, 1, 0, 0, 0, 0, time.FixedZone("LMT", 1172))
	circle := &ring{}
	circle.Next = circle
	loops := map[string]any{}
	loops["x"] = []any{loops}
	deep := any(true)
	for range cbor.MaxNesting {
		deep = []any{deep}
	}
	run(t, []row{
		{"struct in an interface", cannotEncode([]any{base{}}, "cbor: type []interface {}: element [0]: a cbor_test.base in an interface would come back as another type")},
		{"nil bytes in an interface", cannotEncode([]any{[]byte(nil)}, "a []uint8 in an interface")},
		{"zero time in an interface", cannotEncode([]any{time.Time{}}, "a zero time.Time in an interface would come back as nil")},
		{"pointer to a zero time", cannotEncode(when{new(time.Time)}, "field At: a pointer to nil, or to what is written as null")},
		{"pointer to a nil pointer", cannotEncode(&nothing, "a pointer to nil")},
		{"pointer to null", cannotEncode([]*upstream.RawMessage{{0xf6}}, "element [0]: a pointer to nil")},
		{"pointer to undefined", cannotEncode(struct{ V *upstream.SimpleValue }{ptr(upstream.SimpleValue(23))}, "field V: a pointer to nil")},
		{"empty RawMessage", cannotEncode(struct{ R upstream.RawMessage }{}, "field R: an empty cbor.RawMessage")},
		{"empty RawTag", cannotEncode(upstream.RawTag{Number: 5}, "empty content of a cbor.RawTag")},
		{"key that is another time", cannotEncode(map[time.Time]int{time.Now(): 1}, "element []: the key would come back as another one")},
		{"offset with seconds", cannotEncode(when{&odd}, "field At: a time whose offset from UTC is not in whole minutes")},
		{"year 10000", cannotEncode(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "year")},
		{"in a circle", cannotEncode(circle, "nested deeper than 128 levels")},
		{"in a circle of interfaces", cannotEncode(loops, "nested deeper than 128 levels")},
		{"too deep", cannotEncode([]any{deep}, "nested deeper than 128 levels")},
		{"too many from a method", cannotEncode(many(1), "exceeded max number of elements")},
		{"struct as an interface", cannotEncode(ptr[any](base{}), "cbor: type interface {}: a cbor_test.base in an interface")},

		{"as deep as can be", roundTrip(deep)},
		{"as many as can be", roundTrip(many(0))},
		{"keys of structs", roundTrip(map[place]int{{1, 2}: 3, {2, 1}: 4})},
		{"left out", roundTrip(struct {
			R upstream.RawMessage `cbor:",omitempty"`
			Z upstream.RawMessage `cbor:",omitzero"`
		}{})},
		{"RawTag", roundTrip(upstream.RawTag{Number: 5, Content: upstream.RawMessage{1}})},
		{"embedded time", roundTrip(stampedOnly{time.Unix(1, 0).UTC()})},
		{"keys with methods", roundTrip(map[netip.Addr]int{netip.MustParseAddr("::1"): 1})},
	})
}

func ptr[T any](v T) *T { return &v }
