package dogpile_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// Types of which JSON would lose something, or that it could not read.
type (
	hidden  struct{ secret string }
	withErr struct{ Profile struct{ Err error } }
	deepErr struct{ List []map[string]*withErr }
	stamped struct {
		time.Time
		Note string
	}
	located struct {
		netip.Addr
		Port int
	}
	locatedByTag struct {
		netip.Addr `json:"addr"`
		Port       int
	}
	twoMarshalers struct {
		stampedOnly
		Inner
		N int
	}
	Inner       struct{ netip.Addr }
	stampedOnly struct{ time.Time }
	guarded     struct {
		stampedOnly
		sync.Mutex
		note string
	}
	ownMethods struct {
		time.Time
		Note string
	}
	generic[T any] struct {
		time.Time
		Value T
	}
	holdsGeneric struct {
		generic[int]
		N int
	}
	inTheWay struct { // which MarshalJSON it has is not said, so it has none
		ownMethods
		generic[int]
	}
	tagAndName struct {
		A int `json:"B"`
		B int
	}
	shadows struct {
		base
		ID string
	}
	Embedded  struct{ ID int }
	Other     struct{ ID int }
	ambiguous struct {
		Embedded
		Other
	}
	recursive struct {
		*Recursive
		Name string
	}
	Recursive  struct{ *Recursive }
	unsettable struct {
		*base
		Name string
	}
	unsettableByTag struct {
		*base `json:"base"`
		Name  string
	}
	twoCases struct {
		A int `json:"a"`
		B int `json:"A"`
	}
	writer    struct{}
	reader    struct{}
	onPointer struct{}
	parsed    string // a string that is not read the way it is written as a key
	level     int
	loop      *loop
	list      struct {
		Value int
		Next  *list
	}
	embedsError struct {
		error
		Code int
	}
	embedsReader struct{ io.Reader }
)

// String and Note read what JSON does not.
func (h hidden) String() string { return h.secret }
func (b base) Note() string     { return b.note }
func (g *guarded) Note() string { return g.note }

func (writer) MarshalJSON() ([]byte, error)       { return []byte("1"), nil }
func (*reader) UnmarshalJSON([]byte) error        { return nil }
func (*onPointer) MarshalJSON() ([]byte, error)   { return []byte("1"), nil }
func (*onPointer) UnmarshalJSON([]byte) error     { return nil }
func (*parsed) UnmarshalText([]byte) error        { return nil }
func (level) MarshalText() ([]byte, error)        { return []byte("high"), nil }
func (*level) UnmarshalText([]byte) error         { return nil }
func (o ownMethods) MarshalJSON() ([]byte, error) { return json.Marshal([]any{o.Time, o.Note}) }
func (o *ownMethods) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&o.Time, &o.Note})
}
func (g generic[T]) MarshalJSON() ([]byte, error)  { return json.Marshal(g.Value) }
func (g *generic[T]) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &g.Value) }

func checkType[T any](c dogpile.Codec) error {
	return c.(dogpile.TypeChecker).CheckType(reflect.TypeFor[T]())
}

// notOfType wants the type to be refused, first and again.
func notOfType[T any](c dogpile.Codec, want string) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		for range 2 {
			if err := checkType[T](c); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v; want an error with %q", reflect.TypeFor[T](), err, want)
			}
		}
	}
}

func ofType[T any](c dogpile.Codec) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		if err := checkType[T](c); err != nil {
			t.Error(err)
		}
	}
}

func TestJSONRefusesTypes(t *testing.T) {
	const itself = "json: type dogpile_test."
	run(t, []row{
		{"error in a field", notOfType[withErr](dogpile.JSON, itself+"withErr: field Profile.Err: error is an interface that cannot be decoded")},
		{"error further down", notOfType[deepErr](dogpile.JSON, itself+"deepErr: field List[][].Profile.Err: error is")},
		{"error in a list", notOfType[[]error](dogpile.JSON, "json: type []error: element []: error is")},
		{"error", notOfType[error](dogpile.JSON, "json: type error: error is an interface")},
		{"io.Reader", notOfType[struct{ R io.Reader }](dogpile.JSON, "field R: io.Reader is an interface")},
		{"embedded interface", notOfType[embedsReader](dogpile.JSON, "field Reader: io.Reader is an interface")},
		{"pointer to any", notOfType[*any](dogpile.JSON, "a pointer to an interface")},
		{"nothing exported", notOfType[hidden](dogpile.JSON, itself+"hidden: dogpile_test.hidden has no exported field")},
		{"nothing exported in a field", notOfType[struct{ H *hidden }](dogpile.JSON, "field H: dogpile_test.hidden has no exported field")},
		{"counter", notOfType[struct{ N atomic.Int64 }](dogpile.JSON, "field N: atomic.Int64 has no exported field")},
		{"mutex", notOfType[struct{ Mu sync.Mutex }](dogpile.JSON, "field Mu: sync.Mutex has no exported field")},
		{"nothing but a mutex", notOfType[struct{ sync.Mutex }](dogpile.JSON, "has no exported field")},
		{"chan", notOfType[struct{ C chan int }](dogpile.JSON, "field C: a chan int cannot be encoded")},
		{"func", notOfType[struct{ F func() }](dogpile.JSON, "field F: a func() cannot be encoded")},
		{"complex", notOfType[complex128](dogpile.JSON, "json: type complex128: a complex128 cannot be encoded")},
		{"keys that are floats", notOfType[map[float64]int](dogpile.JSON, "a key of type float64 cannot be encoded")},
		{"keys that are structs", notOfType[struct{ M map[user]int }](dogpile.JSON, "field M: a key of type dogpile_test.user cannot be encoded")},
		{"keys that are interfaces", notOfType[map[any]int](dogpile.JSON, "a key of type interface {} cannot be encoded")},
		{"keys that are pointers", notOfType[map[*level]int](dogpile.JSON, "keys of type *dogpile_test.level are not read the way they are written")},
		{"keys read otherwise", notOfType[map[parsed]int](dogpile.JSON, "keys of type dogpile_test.parsed are not read the way they are written")},

		{"swallowed by MarshalJSON", notOfType[stamped](dogpile.JSON, itself+"stamped: MarshalJSON of the embedded time.Time is that of dogpile_test.stamped too, and loses field Note")},
		{"swallowed in a field", notOfType[struct{ S []stamped }](dogpile.JSON, "field S[]: MarshalJSON of the embedded time.Time")},
		{"swallowed by MarshalText", notOfType[located](dogpile.JSON, "MarshalText of the embedded netip.Addr is that of dogpile_test.located too, and loses field Port")},
		{"swallowed in spite of a tag", notOfType[locatedByTag](dogpile.JSON, "loses field Port")},
		{"swallowed by a generic type", notOfType[holdsGeneric](dogpile.JSON, "and loses field N")},
		{"swallowed with methods of its own", notOfType[twoMarshalers](dogpile.JSON, "loses field Inner")},
		{"embedded without its methods", notOfType[inTheWay](dogpile.JSON, "field ownMethods: MarshalJSON of the embedded dogpile_test.ownMethods is not called")},
		{"without a name", notOfType[struct{ T struct{ time.Time } }](dogpile.JSON, "field T: UnmarshalJSON of struct { time.Time } is not called, because the type has no name")},

		{"one tag", oneTag},
		{"tag and name", notOfType[tagAndName](dogpile.JSON, `fields A and B are both written as "B"`)},
		{"hidden by a shallower field", notOfType[shadows](dogpile.JSON, `fields base.ID and ID are both written as "ID"`)},
		{"at equal depth", notOfType[ambiguous](dogpile.JSON, `fields Embedded.ID and Other.ID are both written as "ID"`)},
		{"embeds itself", notOfType[recursive](dogpile.JSON, "dogpile_test.Recursive embeds itself")},
		{"embedded pointer", notOfType[unsettable](dogpile.JSON, "field base: a pointer to dogpile_test.base, which is not exported, cannot be set")},
		{"embedded pointer with a tag", notOfType[unsettableByTag](dogpile.JSON, "field base: *dogpile_test.base, which is not exported, cannot be decoded")},

		{"written only", notOfType[writer](dogpile.JSON, "writer has MarshalJSON, but no method that reads what it writes")},
		{"read only", notOfType[struct{ R reader }](dogpile.JSON, "field R: dogpile_test.reader has UnmarshalJSON, but no method that writes what it reads")},
		{"text written only", notOfType[written](dogpile.JSON, "written has MarshalText, but no method that reads")},
		{"pointer receiver in a map", notOfType[map[string]onPointer](dogpile.JSON, "element []: MarshalJSON of dogpile_test.onPointer has a pointer receiver and is not called for the values of a map")},
		{"option string", notOfType[struct {
			L level `json:",string"`
		}](dogpile.JSON, `field L: dogpile_test.level has methods of its own, which do not go with the option "string"`)},
		{"points to itself", notOfType[loop](dogpile.JSON, "dogpile_test.loop points to itself")},
	})
}

// oneTag is a type that go vet would not let us write down.
func oneTag(t *testing.T) {
	t.Parallel()
	var fields []reflect.StructField
	for _, name := range []string{"A", "B"} {
		fields = append(fields, reflect.StructField{Name: name, Type: reflect.TypeFor[int](), Tag: `json:"x"`})
	}
	err := dogpile.JSON.(dogpile.TypeChecker).CheckType(reflect.StructOf(fields))
	if want := `fields A and B are both written as "x", so that one is lost`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want an error with %q", err, want)
	}
}

func TestJSONAcceptsTypes(t *testing.T) {
	run(t, []row{
		{"exported and other fields", ofType[base](dogpile.JSON)},
		{"left out by tag", ofType[struct {
			Err  error `json:"-"`
			Name string
		}](dogpile.JSON)},
		{"all left out by tag", ofType[struct {
			Err error `json:"-"`
		}](dogpile.JSON)},
		{"empty struct", ofType[map[string]struct{}](dogpile.JSON)},
		{"blank field", ofType[struct{ _ int }](dogpile.JSON)},
		{"embedded mutex", ofType[struct {
			sync.Mutex
			Name string
		}](dogpile.JSON)},
		{"embedded error", ofType[embedsError](dogpile.JSON)},
		{"promoted alone", ofType[stampedOnly](dogpile.JSON)},
		{"promoted with a mutex", ofType[*guarded](dogpile.JSON)},
		{"promoted, others left out by tag", ofType[struct{ S leaves }](dogpile.JSON)},
		{"methods of its own", ofType[ownMethods](dogpile.JSON)},
		{"generic methods of its own", ofType[generic[int]](dogpile.JSON)},
		{"any", ofType[any](dogpile.JSON)},
		{"map of any", ofType[map[string]any](dogpile.JSON)},
		{"keys with methods", ofType[map[netip.Addr]int](dogpile.JSON)},
		{"keys that are numbers with methods", ofType[map[level]int](dogpile.JSON)},
		{"keys that are numbers", ofType[map[time.Month]int](dogpile.JSON)},
		{"pointer receiver behind a pointer in a map", ofType[map[string]*onPointer](dogpile.JSON)},
		{"pointer receiver in a list in a map", ofType[map[string][]onPointer](dogpile.JSON)},
		{"recursive", ofType[list](dogpile.JSON)},
		{"mutually recursive", ofType[tree](dogpile.JSON)},
		{"two cases of a name", ofType[twoCases](dogpile.JSON)},
	})
}

// leaves has nothing to lose that its author has not left out.
type leaves struct {
	time.Time
	Err error `json:"-"`
}

// encoding/json reads names without regard to case only where none fits exactly.
func TestJSONTwoCasesOfAName(t *testing.T) {
	roundTrip(dogpile.JSON, twoCases{1, 2}, `{"a":1,"A":2}`)(t)
}

func TestBytesRefusesTypes(t *testing.T) {
	run(t, []row{
		{"string", notOfType[string](dogpile.Bytes, "bytes: type string: it is not made of []byte")},
		{"array", notOfType[[4]byte](dogpile.Bytes, "type [4]uint8")},
		{"any", notOfType[any](dogpile.Bytes, "type interface {}")},
		{"bytes", ofType[[]byte](dogpile.Bytes)},
		{"named", ofType[blob](dogpile.Bytes)},
	})
}

func TestTextRefusesTypes(t *testing.T) {
	run(t, []row{
		{"int", notOfType[int](dogpile.Text, "text: type int: it is neither a string nor")},
		{"pointer to a string", notOfType[*string](dogpile.Text, "text: type *string")},
		{"written only", notOfType[writer](dogpile.Text, "type dogpile_test.writer")},
		{"any", notOfType[any](dogpile.Text, "type interface {}")},
		{"swallowed", notOfType[located](dogpile.Text, "text: type dogpile_test.located: MarshalText of the embedded netip.Addr")},
		{"swallowed behind a pointer", notOfType[*located](dogpile.Text, "and loses field Port")},
		{"string", ofType[string](dogpile.Text)},
		{"named string", ofType[word](dogpile.Text)},
		{"string that is written only", ofType[written](dogpile.Text)},
		{"value", ofType[netip.Addr](dogpile.Text)},
		{"pointer", ofType[*netip.Addr](dogpile.Text)},
		{"promoted alone", ofType[Inner](dogpile.Text)},
	})
}

// Types are checked by Append too, for those who use a codec by itself.
func TestAppendChecksTypes(t *testing.T) {
	run(t, []row{
		{"JSON", cannotEncode(dogpile.JSON, stamped{}, "loses field Note")},
		{"JSON behind a pointer", cannotEncode(dogpile.JSON, &withErr{}, "field Profile.Err")},
		{"Text", cannotEncode(dogpile.Text, located{}, "loses field Port")},
	})
}

func TestJSONRefusesValues(t *testing.T) {
	type holder struct {
		Name string
		Any  any
		Raw  json.RawMessage `json:",omitempty"`
		Sum  json.Number     `json:",omitempty"`
		At   *time.Time
	}
	nilMap, nilList, nilInt := map[string]any(nil), []int(nil), (*int)(nil)
	odd := time.Date(1900, 1, 1, 0, 0, 0, 0, time.FixedZone("LMT", 1172))
	deep := &list{}
	for range 10001 {
		deep = &list{Next: deep}
	}
	loops := map[string]any{}
	loops["x"] = loops
	const bad = "a string that is not UTF-8 would come back changed"
	run(t, []row{
		{"not UTF-8", cannotEncode(dogpile.JSON, "a\xff", "json: type string: "+bad)},
		{"not UTF-8 in a field", cannotEncode(dogpile.JSON, &user{1, "\xff"}, "json: type *dogpile_test.user: field Name: "+bad)},
		{"not UTF-8 in a list", cannotEncode(dogpile.JSON, []holder{{}, {Name: "\xc3"}}, "element [1].Name: "+bad)},
		{"not UTF-8 in an interface", cannotEncode(dogpile.JSON, holder{Any: []any{"ok", "\xff"}}, "field Any[1]: "+bad)},
		{"not UTF-8 in a map", cannotEncode(dogpile.JSON, map[string][]string{"k": {"\xff"}}, "element [][0]: "+bad)},
		{"not UTF-8 in a key", cannotEncode(dogpile.JSON, map[word]int{"\xff": 1}, "element []: key: "+bad)},
		{"not UTF-8 in a key in an interface", cannotEncode(dogpile.JSON, holder{Any: map[string]any{"\xff": 1}}, "field Any[]: key: "+bad)},
		{"not UTF-8 from MarshalText", cannotEncode(dogpile.JSON, netip.MustParseAddr("fe80::1").WithZone("\xff"), bad)},
		{"not UTF-8 with the option string", cannotEncode(dogpile.JSON, struct {
			S string `json:",string"`
		}{"\xff"}, "field S: "+bad)},

		{"struct in an interface", cannotEncode(dogpile.JSON, holder{Any: user{}}, "field Any: a dogpile_test.user in an interface would come back as another type")},
		{"pointer in an interface", cannotEncode(dogpile.JSON, holder{Any: &user{}}, "a *dogpile_test.user in an interface")},
		{"nil pointer in an interface", cannotEncode(dogpile.JSON, []any{nilInt}, "element [0]: a *int in an interface")},
		{"named type in an interface", cannotEncode(dogpile.JSON, []any{word("x")}, "a dogpile_test.word in an interface")},
		{"list of strings in an interface", cannotEncode(dogpile.JSON, []any{[]string{}}, "a []string in an interface")},
		{"bytes in an interface", cannotEncode(dogpile.JSON, []any{[]byte{}}, "a []uint8 in an interface")},
		{"time in an interface", cannotEncode(dogpile.JSON, []any{odd}, "a time.Time in an interface")},
		{"nil map in an interface", cannotEncode(dogpile.JSON, []any{nilMap}, "a nil map[string]interface {} in an interface would come back as nil")},
		{"nil list in an interface", cannotEncode(dogpile.JSON, []any{[]any(nil)}, "a nil []interface {} in an interface")},
		{"struct as an interface", cannotEncode(dogpile.JSON, ptr[any](user{}), "json: type interface {}: a dogpile_test.user in an interface")},

		{"pointer to a nil pointer", cannotEncode(dogpile.JSON, &nilInt, "a pointer to nil")},
		{"pointer to a nil list", cannotEncode(dogpile.JSON, struct{ L *[]int }{&nilList}, "field L: a pointer to nil")},
		{"pointer to a nil interface", cannotEncode(dogpile.JSON, struct{ A *any }{new(any)}, "field A: a pointer to nil")},
		{"pointer to null", cannotEncode(dogpile.JSON, struct{ R *json.RawMessage }{ptr(json.RawMessage(" null "))}, "field R: a pointer to nil")},

		{"nil RawMessage", cannotEncode(dogpile.JSON, struct{ R json.RawMessage }{}, "field R: a nil json.RawMessage would come back as null; omitempty")},
		{"empty Number", cannotEncode(dogpile.JSON, struct{ N json.Number }{}, "field N: an empty json.Number would come back as 0; omitempty")},
		{"RawMessage that is no JSON", cannotEncode(dogpile.JSON, holder{Raw: json.RawMessage("{")}, "unexpected end of JSON input")},
		{"Number that is none", cannotEncode(dogpile.JSON, holder{Sum: "1x"}, "invalid number literal")},
		{"Number in an interface that is none", cannotEncode(dogpile.JSON, []any{json.Number("")}, "element [0]: an empty json.Number")},

		{"keys of one text", cannotEncode(dogpile.JSON, map[lower]int{{"A"}: 1, {"a"}: 2}, "the key would come back as another one")},
		{"offset with seconds", cannotEncode(dogpile.JSON, holder{At: &odd}, "field At: a time whose offset from UTC is not in whole minutes")},
		{"year 10000", cannotEncode(dogpile.JSON, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "year")},
		{"too deep", cannotEncode(dogpile.JSON, deep, "nested deeper than 10000 levels")},
		{"in a circle", cannotEncode(dogpile.JSON, loops, "cycle")},
		{"infinite", cannotEncode(dogpile.JSON, math.Inf(1), "+Inf")},
	})
}

func ptr[T any](v T) *T { return &v }

func TestJSONAcceptsValues(t *testing.T) {
	run(t, []row{
		{"U+FFFD", roundTrip(dogpile.JSON, "\ufffd", "\"\ufffd\"")},
		{"text of an escape", roundTrip(dogpile.JSON, `\ufffd`, `"\\ufffd"`)},
		{"U+FFFD in an interface", roundTrip(dogpile.JSON, []any{map[string]any{"\ufffd": "\ufffd"}}, "[{\"\ufffd\":\"\ufffd\"}]")},
		{"RawMessage with an escape", roundTrip(dogpile.JSON, json.RawMessage(`"\ufffd"`), `"\ufffd"`)},
		{"RawMessage in a struct", roundTrip(dogpile.JSON, struct{ R json.RawMessage }{json.RawMessage("null")}, `{"R":null}`)},
		{"left out", roundTrip(dogpile.JSON, struct {
			R json.RawMessage `json:",omitempty"`
			N json.Number     `json:",omitempty"`
			Z json.Number     `json:",omitzero"`
		}{}, `{}`)},
		{"pointer to a pointer", roundTrip(dogpile.JSON, ptr(ptr(1)), `1`)},
		{"nil pointers in a list", roundTrip(dogpile.JSON, []*int{nil}, `[null]`)},
		{"nil interfaces in a list", roundTrip(dogpile.JSON, []any{nil, false, "x"}, `[null,false,"x"]`)},
		{"empty list in an interface", roundTrip(dogpile.JSON, []any{[]any{}, map[string]any{}}, `[[],{}]`)},
		{"keys with methods", roundTrip(dogpile.JSON, map[netip.Addr]int{netip.MustParseAddr("::1"): 1}, `{"::1":1}`)},
		{"pointer receiver", roundTrip(dogpile.JSON, [1]user{{1, "x"}}, `[{"ID":1,"Name":"x"}]`)},
		{"methods of its own", roundTrip(dogpile.JSON, ownMethods{time.Unix(0, 0).UTC(), "x"}, `["1970-01-01T00:00:00Z","x"]`)},
	})
}

// A type that is checked by many goroutines for the first time.
func TestCheckTypeAtOnce(t *testing.T) {
	t.Parallel()
	type only struct{ F withErr }
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = checkType[only](dogpile.JSON) })
	}
	wg.Wait()
	for _, err := range errs {
		if err == nil || !errors.Is(err, errs[0]) {
			t.Errorf("%v, and %v", err, errs[0])
		}
	}
}

func ExampleTypeChecker() {
	type Profile struct{ Err error }
	type User struct {
		Name    string
		Profile Profile
	}
	checker := dogpile.JSON.(dogpile.TypeChecker)
	fmt.Println(checker.CheckType(reflect.TypeFor[User]()))

	type Event struct {
		time.Time
		Note string
	}
	fmt.Println(checker.CheckType(reflect.TypeFor[Event]()))
	// Output:
	// json: type dogpile_test.User: field Profile.Err: error is an interface that cannot be decoded
	// json: type dogpile_test.Event: MarshalJSON of the embedded time.Time is that of dogpile_test.Event too, and loses field Note; give dogpile_test.Event methods of its own, or the field a name
}
