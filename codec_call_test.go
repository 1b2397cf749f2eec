package dogpile_test

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile"
)

// faulty is a codec that does what it must not.
type faulty struct {
	append func(dst []byte) ([]byte, error)
	check  func() error
}

func (f faulty) Append(dst []byte, _ any) ([]byte, error) { return f.append(dst) }
func (f faulty) Decode([]byte, any) error                 { return f.check() }
func (f faulty) CheckType(reflect.Type) error             { return f.check() }

// mined panics in every method that a codec calls.
type mined struct{ N int }

var errMine = errors.New("stepped on it")

func (mined) MarshalJSON() ([]byte, error)     { panic(errMine) }
func (*mined) UnmarshalJSON([]byte) error      { panic(errMine) }
func (mined) MarshalText() ([]byte, error)     { panic(errMine) }
func (*mined) UnmarshalText(text []byte) error { panic(errMine) }

func wantPanic(t *testing.T, err error) {
	t.Helper()
	var p *dogpile.PanicError
	if !errors.As(err, &p) || !errors.Is(err, errMine) || err.Error() != "codec panicked: stepped on it" || !strings.Contains(string(p.Stack), "mined") {
		t.Errorf("%v", err)
	}
}

// TestCodecPanics: a panic in a method that a codec calls is an error, and
// leaves what stands before the value as it was.
func TestCodecPanics(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]dogpile.Codec{"JSON": dogpile.JSON, "Text": dogpile.Text} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dst := append(make([]byte, 0, 64), "meta|"...)
			out, err := dogpile.Encode(c, dst, mined{})
			wantPanic(t, err)
			if string(out) != "meta|" {
				t.Errorf("the rest is %q", out)
			}
			wantPanic(t, dogpile.Decode(c, []byte(`{}`), new(mined)))
			// What was used for the call that panicked is not used again.
			for _, v := range []string{"a", "b"} {
				var got string
				out, err := dogpile.Encode(c, nil, v)
				if err := errors.Join(err, dogpile.Decode(c, out, &got)); err != nil || got != v {
					t.Errorf("afterwards %q became %q, %v", v, got, err)
				}
			}
		})
	}
	check := func() error { panic("never") }
	if err := dogpile.CheckType(faulty{check: check}, reflect.TypeFor[int]()); err == nil || err.Error() != "codec panicked: never" {
		t.Errorf("CheckType: %v", err)
	}
}

// TestCodecGoexit: runtime.Goexit cannot be held back; it ends the goroutine that
// called it, as everywhere.
func TestCodecGoexit(t *testing.T) {
	t.Parallel()
	ended, came := make(chan struct{}), false
	go func() {
		defer close(ended)
		_, _ = dogpile.Encode(faulty{append: func([]byte) ([]byte, error) { runtime.Goexit(); return nil, nil }}, nil, 1)
		came = true
	}()
	if <-ended; came {
		t.Error("encode returned")
	}
}

func TestCodecMustAppend(t *testing.T) {
	t.Parallel()
	errOwn := errors.New("own")
	for _, row := range []struct {
		name   string
		append func(dst []byte) ([]byte, error)
		want   string // of the error
	}{
		{"appends", func(dst []byte) ([]byte, error) { return append(dst, "value"...), nil }, ""},
		{"appends nothing", func(dst []byte) ([]byte, error) { return dst, nil }, ""},
		{"appends elsewhere", func(dst []byte) ([]byte, error) { return append(bytes.Clone(dst), "value"...), nil }, ""},
		{"forgets what was there", func([]byte) ([]byte, error) { return []byte("value"), nil }, "does not append"},
		{"cuts it off", func(dst []byte) ([]byte, error) { return dst[:2], nil }, "does not append"},
		{"returns nothing", func([]byte) ([]byte, error) { return nil, nil }, "does not append"},
		{"writes over it", func(dst []byte) ([]byte, error) { dst[0] = 'x'; return append(dst, "value"...), nil }, "does not append"},
		{"fails after that", func(dst []byte) ([]byte, error) { return nil, errOwn }, "own"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for _, meta := range []string{"meta|", strings.Repeat("long meta ", 100) + "|"} {
				out, err := dogpile.Encode(faulty{append: row.append}, append(make([]byte, 0, 2000), meta...), 1)
				if row.want == "" {
					if err != nil || !strings.HasPrefix(string(out), meta) {
						t.Errorf("%.20q, %v", out, err)
					}
					continue
				}
				if err == nil || !strings.Contains(err.Error(), row.want) || string(out) != meta {
					t.Errorf("%.20q, %v; want an error with %q", out, err, row.want)
				}
				if row.want != "own" && !strings.Contains(err.Error(), "codec dogpile_test.faulty") {
					t.Errorf("%v does not name the codec", err)
				}
			}
		})
	}
}

func TestCheckTypeOfOthers(t *testing.T) {
	t.Parallel()
	if err := dogpile.CheckType(library{}, reflect.TypeFor[func()]()); err != nil {
		t.Errorf("a codec that checks no types: %v", err)
	}
	if err := dogpile.CheckType(dogpile.JSON, reflect.TypeFor[func()]()); err == nil {
		t.Error("JSON takes a func")
	}
}
