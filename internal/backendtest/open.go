//go:build unix

package backendtest

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// Secret is a part of URLs that no error may show.
const Secret = "geheim"

// Fault is a URL and what its error has to say.
type Fault struct{ URL, Want string }

// FaultsOf returns faults that any URL of a kind can have.
func FaultsOf(scheme, secureScheme string) []Fault {
	return []Fault{
		{scheme + "://h?timeout=soon", `"timeout" is neither a duration`},
		{scheme + "://h?timeout=-3", "Timeout (timeout) is -3s"},
		{scheme + "://u:" + Secret + "@h?tiemout=1", `"tiemout" is unknown`},
		{scheme + "://h?breaker=maybe", `"breaker" is neither true nor false`},
		{scheme + "://h?breaker_failures=many", `"breaker_failures" is not a whole number`},
		{scheme + "://h?breaker_cooldown=long", `"breaker_cooldown" is neither a duration`},
		{scheme + "://h?ca_file=/x", `"ca_file" is unknown`},
		{secureScheme + "://h?ca_file=/nonexistent/x", "ca_file: open"},
		{secureScheme + "://h?cert_file=/nonexistent/x", "go together"},
		{"memory://", `"memory" is no scheme of this backend`},
	}
}

// OpenTells checks that open fails with each fault, says what it is, and says
// "dogpile: " once.
func OpenTells(t *testing.T, open func(url string) error, faults []Fault) {
	for _, f := range faults {
		err := open(f.URL)
		if err == nil || !strings.Contains(err.Error(), f.Want) || !strings.HasPrefix(err.Error(), "dogpile: open ") ||
			strings.Count(err.Error(), "dogpile") != 1 || strings.Contains(err.Error(), Secret) {
			t.Errorf("Open(%.60s) = %v, want %q in it", f.URL, err, f.Want)
		}
	}
}

// Options checks that each field of a struct of options, o, is the argument of a
// URL whose name is the field's in snake case: url takes a value for it, and
// refuses one of another type; that of a *proxy.BreakerOptions with those of its
// fields behind it. Only a *tls.Config and a function have no argument. All of them have to be in
// the backend's page of docs/.
func Options(t *testing.T, o any, url string, valid map[string]string) {
	dir, err := os.Getwd()
	OK(t, err)
	page := "docs/" + filepath.Base(dir) + ".md"
	text, err := os.ReadFile("../../" + page)
	OK(t, err)
	check := func(name, value, wrong string) {
		if !strings.Contains(string(text), "`"+name+"`") && !strings.Contains(string(text), "`"+name+"=") {
			t.Errorf("%s does not name %s", page, name)
		}
		if v, ok := valid[name]; ok {
			value = v
		}
		args := []string{name + "=" + value}
		for _, arg := range patient {
			if !strings.HasPrefix(arg, name+"=") {
				args = append(args, arg)
			}
		}
		b, err := driver.Open(t.Context(), WithArgs(url, args...))
		if err != nil {
			t.Errorf("%s=%s: %v", name, value, err)
		} else {
			OK(t, driver.Close(b))
		}
		var fault *driver.ArgError
		if _, err := driver.Open(t.Context(), WithArgs(url, name+"="+wrong)); wrong != "" && (!errors.As(err, &fault) || fault.Name != name) {
			t.Errorf("%s=%s: %v, want a fault of %s", name, wrong, err, name)
		}
	}
	for _, f := range reflect.VisibleFields(reflect.TypeOf(o)) {
		name := snake(f.Name)
		switch f.Type {
		case reflect.TypeFor[string]():
			check(name, "x", "")
		case reflect.TypeFor[bool]():
			check(name, "true", "maybe")
		case reflect.TypeFor[int]():
			check(name, "1", "one")
		case reflect.TypeFor[time.Duration]():
			check(name, "20s", "soon")
		case reflect.TypeFor[*proxy.BreakerOptions]():
			check(name, "false", "maybe") // is Off
			check(name+"_failures", "1", "one")
			check(name+"_cooldown", "1s", "soon")
			if n := f.Type.Elem().NumField(); n != 3 {
				t.Errorf("a BreakerOptions has %d fields, and URLs know 3", n)
			}
		case reflect.TypeFor[*tls.Config](), reflect.TypeFor[func(context.Context) (string, string, error)]():
		default:
			t.Errorf("%s is a %s, which no argument of a URL can be", f.Name, f.Type)
		}
	}
}

// snake returns a name in CamelCase in snake_case.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// Opaque checks that a type of backend, a pointer to a struct, has all methods of
// its own, so that each is documented, and shows nothing inside to driver.As.
func Opaque(t *testing.T, backend any) {
	if _, wraps := backend.(interface{ Unwrap() driver.Backend }); wraps {
		t.Errorf("driver.As looks inside a %T", backend)
	}
	if _, whole := backend.(Backend); !whole {
		t.Errorf("a %T lacks a method", backend)
	}
	for _, f := range reflect.VisibleFields(reflect.TypeOf(backend).Elem()) {
		if f.Anonymous || f.IsExported() {
			t.Errorf("a %T embeds or exports %s", backend, f.Name)
		}
	}
}
