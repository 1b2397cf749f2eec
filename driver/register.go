package driver

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Opener makes a backend from the parts of a URL. It reads the arguments it
// knows, returns [Args.Err] if that reports anything, and only then connects.
// Its errors need no prefix and do not name the URL: [Open] does both.
type Opener func(ctx context.Context, args *Args) (Backend, error)

var registry struct {
	sync.RWMutex
	openers map[string]Opener
}

// Register makes a backend known to [Open] under a URL scheme. Packages of
// backends call it from init. It panics if open is nil, if scheme is not a legal
// URL scheme in lower case, or if the scheme is taken.
func Register(scheme string, open Opener) {
	if open == nil {
		panic("dogpile: Register of backend " + scheme + " with a nil Opener")
	}
	if !legalScheme(scheme) {
		panic(fmt.Sprintf("dogpile: Register: illegal scheme %q", scheme))
	}
	registry.Lock()
	defer registry.Unlock()
	if _, taken := registry.openers[scheme]; taken {
		panic("dogpile: Register called twice for backend " + scheme)
	}
	if registry.openers == nil {
		registry.openers = make(map[string]Opener)
	}
	registry.openers[scheme] = open
}

// Schemes returns the schemes that were given to [Register], in alphabetical
// order. The caller owns the slice.
func Schemes() []string {
	registry.RLock()
	defer registry.RUnlock()
	return slices.Sorted(maps.Keys(registry.openers))
}

// Open makes the backend that rawURL names, such as
// "memory://?max_entries=100000". A scheme alone ("memory") is enough for a
// backend that needs nothing else.
//
// Errors begin with "dogpile: ", once. They name the scheme, the hosts and the
// arguments at fault, and never show a value of an argument, which may be secret.
func Open(ctx context.Context, rawURL string) (Backend, error) {
	return OpenWith(ctx, rawURL, nil)
}

// OpenWith is [Open] with arguments in addition to those in the query of
// rawURL. To give one in both places is an error.
func OpenWith(ctx context.Context, rawURL string, arguments map[string]string) (Backend, error) {
	args, err := parseArgs(rawURL, arguments)
	if err != nil {
		return nil, err
	}
	registry.RLock()
	open := registry.openers[args.Scheme]
	registry.RUnlock()
	if open == nil {
		return nil, fmt.Errorf("dogpile: unknown backend %q (forgotten import?); known: %s",
			args.Scheme, strings.Join(Schemes(), ", "))
	}
	b, err := open(ctx, args)
	if err != nil {
		return nil, &openError{args.redacted(), err}
	}
	return b, nil
}

// openError is what OpenWith makes of an Opener's error.
type openError struct {
	url string // without secrets
	err error
}

// Error has the prefix once. The function behind an Opener is often one that
// users may also call themselves, and then its errors begin with the prefix too.
func (e *openError) Error() string {
	return "dogpile: open " + e.url + ": " + strings.TrimPrefix(e.err.Error(), "dogpile: ")
}

// Unwrap returns the Opener's error as it was.
func (e *openError) Unwrap() error { return e.err }

func legalScheme(s string) bool {
	if s == "" {
		return false
	}
	for i, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z':
		case i > 0 && ('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return true
}
