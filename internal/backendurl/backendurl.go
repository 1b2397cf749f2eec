// Package backendurl opens backends that a URL names. The arguments of a URL are
// the fields of the backend's Options, in snake case, so that an option has one
// name in both.
package backendurl

import (
	"context"
	"crypto/tls"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// Opener opens backends of one kind, B, whose options are O.
type Opener[O any, B driver.Backend] struct {
	// Schemes are those of the URLs.
	Schemes []string
	// Open makes a backend. It owns o, which has the options of the caller and,
	// where these are zero, those of the URL. It reads the other arguments, and
	// returns args.Err if that reports anything.
	Open func(ctx context.Context, args *driver.Args, o *O) (B, error)
}

// Register makes the backend known to driver.Open.
func (op Opener[O, B]) Register() {
	for _, scheme := range op.Schemes {
		driver.Register(scheme, func(ctx context.Context, args *driver.Args) (driver.Backend, error) {
			b, err := op.open(ctx, args, nil)
			if err != nil {
				return nil, err // and not b, which is a nil B and no nil Backend
			}
			return b, nil
		})
	}
}

// FromURL opens the backend that rawURL names. A nil o stands for the zero O.
// The error begins with "dogpile: open" and what of rawURL cannot be secret.
func (op Opener[O, B]) FromURL(ctx context.Context, rawURL string, o *O) (b B, err error) {
	args, err := driver.ParseArgs(rawURL)
	if err != nil {
		return b, err
	}
	if b, err = op.open(ctx, args, o); err != nil {
		return b, fmt.Errorf("dogpile: open %s: %w", args, err)
	}
	return b, nil
}

func (op Opener[O, B]) open(ctx context.Context, args *driver.Args, o *O) (b B, err error) {
	if !slices.Contains(op.Schemes, args.Scheme) {
		return b, fmt.Errorf("%q is no scheme of this backend", args.Scheme)
	}
	var own O
	if o != nil {
		own = *o
	}
	fill(args, &own)
	return op.Open(ctx, args, &own)
}

// fill sets each field of the struct that o points to and that is zero to the
// argument of its name. A tls.Config and Credentials have none: see TLS and
// Login. It panics if a field is of a type that it does not know, so that no
// option is forgotten.
func fill(args *driver.Args, o any) {
	v := reflect.ValueOf(o).Elem()
	for i := range v.NumField() {
		name := snake(v.Type().Field(i).Name)
		switch f := v.Field(i).Addr().Interface().(type) {
		case *string:
			orElse(f, args.String(name, ""))
		case *bool:
			orElse(f, args.Bool(name, false))
		case *int:
			orElse(f, args.Int(name, 0))
		case *time.Duration:
			orElse(f, args.Duration(name, 0))
		case **proxy.BreakerOptions:
			orElse(f, breaker(args, name))
		case **tls.Config, *Credentials:
		default:
			panic(fmt.Sprintf("backendurl: %s.%s is a %s", v.Type(), v.Type().Field(i).Name, v.Field(i).Type()))
		}
	}
}

// breaker reads name=false, which is BreakerOptions.Off, name_failures and
// name_cooldown.
func breaker(args *driver.Args, name string) *proxy.BreakerOptions {
	return &proxy.BreakerOptions{
		Off:      !args.Bool(name, true),
		Failures: args.Int(name+"_failures", 0),
		Cooldown: args.Duration(name+"_cooldown", 0),
	}
}

// orElse sets *v to what the URL says, unless the caller has set it.
func orElse[T comparable](v *T, said T) {
	var zero T
	if *v == zero {
		*v = said
	}
}

// snake returns a name in CamelCase, without acronyms, in snake_case.
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
