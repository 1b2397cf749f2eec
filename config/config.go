// Package config reads settings for dogpile from files and from the
// environment, as the flat map that Region.ConfigureFrom and ConfigureAll
// take. It is built on koanf.
//
//	settings, err := config.Load("app.toml")
//	maps.Copy(settings, config.FromEnv("DOGPILE_")) // the environment wins
//	err = dogpile.ConfigureAll(ctx, settings, "cache.", users, orders)
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
)

// Load reads the file at path, whose extension says what it is: .toml, .yaml,
// .yml or .json, in any case. Nested tables become keys joined with ".", so
// that a key written with dots means the same as tables inside each other. The
// case of keys is kept.
//
// Values become strings. A string stays as it is; a whole number is written in
// decimal and a fraction without exponent, both exactly; a truth value is true
// or false; null is None; a date is written as 2006-01-02 or as RFC 3339 has
// it; a list is its values joined with ",".
//
// An error names the file and, where one is at fault, the key or the line, and
// never shows a value. Errors are: a file that cannot be read (wrapping the
// cause, such as fs.ErrNotExist), another extension, a syntax error, a key that
// is defined twice in whatever way, a key that is both a value and a table, a
// list of anything but plain values, a list value with a comma in it, and a
// number that cannot be kept exactly. The map is never nil without an error,
// and is the caller's.
func Load(path string) (map[string]string, error) {
	decode := decoders[strings.ToLower(filepath.Ext(path))]
	if decode == nil {
		return nil, fmt.Errorf("dogpile: config %q: unknown extension %q; known: .json, .toml, .yaml, .yml",
			path, filepath.Ext(path))
	}
	k := koanf.New(".")
	if err := k.Load(file.Provider(path), parser(decode)); err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return nil, fmt.Errorf("dogpile: config %q: %w", path, err)
	}
	return stringsOf(k), nil
}

// FromEnv returns the environment variables whose names begin with prefix, in
// the same form as Load: the prefix is cut off, "__" becomes ".", and the rest
// is put in lower case, so that FromEnv("DOGPILE_") gives the value of
// DOGPILE_CACHE__USERS__STALE_FOR as cache.users.stale_for. Values are not
// touched. The prefix is compared with its case; of two names that differ in
// case alone the later in the environment counts. The map is never nil, and is
// the caller's.
func FromEnv(prefix string) map[string]string {
	// No delimiter is given to the provider: it would nest the keys, and
	// misplace one that is both a value and the beginning of others.
	provider := env.Provider("", env.Opt{
		Prefix: prefix,
		TransformFunc: func(name, value string) (string, any) {
			name = strings.TrimPrefix(name, prefix)
			return strings.ToLower(strings.ReplaceAll(name, "__", ".")), value
		},
	})
	k := koanf.New(".")
	if err := k.Load(provider, nil); err != nil {
		panic(err) // reading the environment cannot fail
	}
	return stringsOf(k)
}

// decoders return the tree that is written in a file: tables as map[string]any,
// map[any]any or members, lists as []any, null as nil.
var decoders = map[string]func([]byte) (any, error){
	".json": decodeJSON,
	".toml": decodeTOML,
	".yaml": decodeYAML,
	".yml":  decodeYAML,
}

// A parser is a koanf.Parser that gives koanf one flat level of strings. What
// koanf does with nested tables depends on the order of map iteration as soon as
// a key is written in two ways.
type parser func([]byte) (any, error)

// Unmarshal implements koanf.Parser.
func (p parser) Unmarshal(b []byte) (map[string]any, error) {
	tree, err := p(b)
	if err != nil {
		return nil, err
	}
	return flatten(tree)
}

// Marshal is of no use here and returns errors.ErrUnsupported.
func (p parser) Marshal(map[string]any) ([]byte, error) { return nil, errors.ErrUnsupported }

func stringsOf(k *koanf.Koanf) map[string]string {
	out := make(map[string]string)
	for key, value := range k.All() {
		out[key] = value.(string)
	}
	return out
}
