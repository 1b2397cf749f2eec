package dogpile_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/dogpile-go/dogpile"
)

// afresh decodes as JSON does, with a decoder that has seen nothing before.
func afresh(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows")
	}
	if again, err := json.Marshal(v); string(bytes.TrimSpace(data)) == "null" && (err != nil || string(again) != "null") {
		return errors.New("null")
	}
	return nil
}

// decodesAfresh decodes data into a T, again and again, and wants what afresh makes of it.
func decodesAfresh[T any](t *testing.T, data []byte) {
	t.Helper()
	var got, want T
	errGot, errWant := dogpile.JSON.Decode(data, &got), afresh(data, &want)
	if (errGot == nil) != (errWant == nil) || errWant == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%.200q was read as %#v, %v; want %#v, %v", data, got, errGot, want, errWant)
	}
}

// TestJSONDecodersAreUsedAgain: whatever was decoded before, and however much
// space came after it.
func TestJSONDecodersAreUsedAgain(t *testing.T) {
	t.Parallel()
	values := []string{`1`, `"x"`, `{"ID": 1}`, `[1]`, `null`, ``, `{`, `1 2`, `{}}`, `"x`, `tru`, `-`, `[1] x`, `nul`}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for n := range 1200 {
				data := values[(n+worker)%len(values)] + strings.Repeat(" ", n*7%1300)
				if n%5 == 0 {
					data = fmt.Sprintf(`"%s"`, strings.Repeat("y", n)) + strings.Repeat("\n", n%3)
				}
				decodesAfresh[any](t, []byte(data))
				decodesAfresh[string](t, []byte(data))
				decodesAfresh[user](t, []byte(data))
			}
		})
	}
	wg.Wait()
}

// Large values leave nothing behind.
func TestJSONLargeValues(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 500, 510, 511, 512, 513, 1 << 16, 1<<16 + 1, 1 << 20} {
		decodesAfresh[string](t, []byte(`"`+strings.Repeat("z", size)+`"`))
		decodesAfresh[int](t, []byte(`7`))
		decodesAfresh[string](t, []byte(strings.Repeat(" ", size)+`"z"`+strings.Repeat(" ", size)))
	}
}

func FuzzJSONDecode(f *testing.F) {
	for _, s := range []string{`null`, ` null `, `"a\u00e9\ud83d"`, `-0.0e1`, `[1,{"a":null}]`, `{"ID":1,"id":2,"Name":"\n"}`, `"YQ=="`, `true`, `1 `, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		decodesAfresh[any](t, data)
		decodesAfresh[string](t, data)
		decodesAfresh[int](t, data)
		decodesAfresh[float64](t, data)
		decodesAfresh[bool](t, data)
		decodesAfresh[[]byte](t, data)
		decodesAfresh[user](t, data)
		decodesAfresh[*user](t, data)
		decodesAfresh[map[int]maybe](t, data)
		decodesAfresh[json.RawMessage](t, data)
		decodesAfresh[tree](t, data)
	})
}
