package funckey_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/internal/funckey"
)

// That no two arguments of a type share a key is shown by reading the keys
// back: where every argument can be told from its key, no other has it.

type (
	pair   struct{ A, B string }
	number struct {
		F float64
		I int64
		u uint8
		G float32
		Z complex128
		B bool
	}
	mixed struct {
		B []byte
		S string
		p *string
		Q **int
		L *[]string
		N [][]string
		M []pair
		O []*pair
		e struct{}
		H [2]byte
		J []struct{ k []bool }
	}
)

// Fields that only reflection sets.
var _ = []any{number{}.u, mixed{}.p, mixed{}.e}

// read sets v to the value that the beginning of s stands for and returns what
// follows it.
func read(s string, v reflect.Value) string {
	if !v.CanSet() {
		v = reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
	}
	switch t := v.Type(); t.Kind() {
	case reflect.Pointer:
		if s[:min(1, len(s))] == "!" {
			return s[1:]
		}
		v.Set(reflect.New(t.Elem()))
		if k := t.Elem().Kind(); k == reflect.Pointer || k == reflect.Slice {
			s = expect(s, "*")
		}
		return read(s, v.Elem())
	case reflect.Struct:
		return expect(readFields(expect(s, "("), v), ")")
	case reflect.Slice:
		if s[:min(1, len(s))] == "!" {
			return s[1:]
		}
		if t.Elem().Kind() != reflect.Uint8 {
			v.Set(reflect.MakeSlice(t, 0, 0))
			return readElements(expect(s, "["), v)
		}
		text, rest := readText(s)
		v.SetBytes([]byte(text))
		return rest
	case reflect.Array:
		text, rest := readText(s)
		reflect.Copy(v, reflect.ValueOf([]byte(text)))
		return rest
	case reflect.String:
		text, rest := readText(s)
		v.SetString(text)
		return rest
	case reflect.Complex128:
		re, rest := readText(expect(s, "("))
		im, rest := readText(expect(rest, ","))
		v.SetComplex(complex(must(strconv.ParseFloat(re, 64)), must(strconv.ParseFloat(im, 64))))
		return expect(rest, ")")
	}
	text, rest := readText(s)
	readScalar(text, v)
	return rest
}

func readScalar(text string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(must(strconv.ParseBool(text)))
	case reflect.Int64, reflect.Int:
		v.SetInt(must(strconv.ParseInt(text, 10, 64)))
	case reflect.Uint8:
		v.SetUint(must(strconv.ParseUint(text, 10, 8)))
	case reflect.Float64, reflect.Float32:
		v.SetFloat(must(strconv.ParseFloat(text, v.Type().Bits())))
	default:
		panic(v.Type().String())
	}
}

func readFields(s string, v reflect.Value) string {
	for i := range v.NumField() {
		if i > 0 {
			s = expect(s, ",")
		}
		s = read(s, v.Field(i))
	}
	return s
}

func readElements(s string, v reflect.Value) string {
	for !strings.HasPrefix(s, "]") {
		if v.Len() > 0 {
			s = expect(s, ",")
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		if strings.HasPrefix(s, "%,") || strings.HasPrefix(s, "%]") {
			read("", elem)
			s = s[1:]
		} else {
			s = read(s, elem)
		}
		v.Set(reflect.Append(v, elem))
	}
	return expect(s, "]")
}

func readText(s string) (text, rest string) {
	end := strings.IndexAny(s, "|,()[]!*")
	if end < 0 {
		end = len(s)
	}
	return must(url.PathUnescape(s[:end])), s[end:]
}

func expect(s, prefix string) string {
	if !strings.HasPrefix(s, prefix) {
		panic(fmt.Sprintf("%q does not begin with %q", s, prefix))
	}
	return s[len(prefix):]
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// checkInverse makes an argument of type A out of src and reads its key back.
func checkInverse[A any](t *testing.T, name string, src *source) {
	t.Helper()
	var a, back A
	src.fill(reflect.ValueOf(&a).Elem())
	enc, err := funckey.For[A]()
	if err != nil {
		t.Fatal(err)
	}
	key, err := enc.Append(append(funckey.AppendName(nil, name), '|'), &a)
	if err != nil {
		t.Fatalf("%#v: %v", a, err)
	}
	if i := bytes.IndexFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }); i >= 0 {
		t.Fatalf("%#v: byte %#x in %q", a, key[i], key)
	}
	gotName, rest, _ := strings.Cut(string(key), "|")
	if must(url.PathUnescape(gotName)) != name {
		t.Fatalf("name %q in %s", name, key)
	}
	if v := reflect.ValueOf(&back).Elem(); v.Kind() == reflect.Struct {
		rest = readFields(rest, v)
	} else {
		rest = read(rest, v)
	}
	if rest != "" || !reflect.DeepEqual(a, back) {
		t.Fatalf("%#v has the key %s, which is that of %#v (%q left)", a, key, back, rest)
	}
}

func checkInverses(t *testing.T, data []byte) {
	src := &source{data}
	name := src.text()
	checkInverse[string](t, name, src)
	checkInverse[*string](t, name, src)
	checkInverse[***string](t, name, src)
	checkInverse[[]string](t, name, src)
	checkInverse[*[]*[]string](t, name, src)
	checkInverse[[][][]byte](t, name, src)
	checkInverse[pair](t, name, src)
	checkInverse[*pair](t, name, src)
	checkInverse[[]*int](t, name, src)
	checkInverse[number](t, name, src)
	checkInverse[mixed](t, name, src)
}

func TestInverse(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 128)
	for range 2000 {
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		checkInverses(t, data)
	}
}

func FuzzInverse(f *testing.F) {
	f.Add([]byte("\x02\x03\x01\x02\x03\x05\x07\x0b0123456789abcdef"))
	f.Fuzz(checkInverses)
}

// source turns bytes into arguments, with a liking for what is awkward in
// keys. At its end it yields zeros.
type source struct{ data []byte }

func (s *source) next() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

func (s *source) text() string {
	pieces := []string{"a", "|", ",", "(", ")", "[", "]", "!", "%", "*", "%2C", " ", "\x00", "é", "\xff", "0"}
	var b strings.Builder
	for range s.next() % 4 {
		b.WriteString(pieces[int(s.next())%len(pieces)])
	}
	return b.String()
}

func (s *source) number() uint64 {
	var b [8]byte
	for i := range s.next() % 9 {
		b[i] = s.next()
	}
	return binary.LittleEndian.Uint64(b[:])
}

func (s *source) float() float64 {
	f := math.Float64frombits(s.number())
	if f != f {
		return 0 // no NaN equals another for DeepEqual
	}
	return f
}

func (s *source) fill(v reflect.Value) {
	if !v.CanSet() {
		v = reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(s.next()&1 == 1)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(s.number()))
	case reflect.Uint8:
		v.SetUint(uint64(s.next()))
	case reflect.Float32:
		v.SetFloat(float64(float32(s.float())))
	case reflect.Float64:
		v.SetFloat(s.float())
	case reflect.Complex128:
		v.SetComplex(complex(s.float(), s.float()))
	case reflect.String:
		v.SetString(s.text())
	case reflect.Pointer:
		if s.next()%4 != 0 {
			v.Set(reflect.New(v.Type().Elem()))
			s.fill(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			s.fill(v.Field(i))
		}
	case reflect.Slice:
		if n := int(s.next() % 5); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n-1, n-1))
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			s.fill(v.Index(i))
		}
	default:
		panic(v.Type().String())
	}
}
