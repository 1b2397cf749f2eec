// Package config reads settings for dogpile from files and from the
// environment, as the flat map that dogpile.Setup, Region.ConfigureFrom and
// ConfigureAll take.
//
//	settings, err := config.Load("app.toml")
//	maps.Copy(settings, config.FromEnv("DOGPILE_")) // the environment wins
//	err = dogpile.Setup{Settings: settings, Prefix: "cache."}.Configure(ctx, users, orders)
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Load reads the file at path, whose extension says what it is: .toml, .yaml,
// .yml or .json, in any case. The file is in UTF-8; a byte order mark at its
// beginning is ignored. Nested tables become keys joined with ".", so that a key
// written with dots means the same as tables inside each other. The case of keys
// is kept.
//
// Values become strings. A string stays as it is; a whole number is written in
// decimal and a fraction without exponent, both exactly; a truth value is true
// or false; null is None; a date is written as 2006-01-02 or as RFC 3339 has
// it; a list is its values joined with ",".
//
// An error names the file and, where one is at fault, the key or the line, and
// never shows a value. Errors are: a file that cannot be read (wrapping the
// cause, such as fs.ErrNotExist), another extension, another encoding, a syntax
// error, a key that is defined twice in whatever way, a key that is both a value
// and a table, a list of anything but plain values, a list value with a comma in
// it, and a number that cannot be kept exactly. The map is never nil without an error,
// and is the caller's.
func Load(path string) (map[string]string, error) {
	return load(path, os.ReadFile)
}

// LoadFS is Load for the file called name in fsys: settings that a program brings along,
// in an embed.FS.
func LoadFS(fsys fs.FS, name string) (map[string]string, error) {
	return load(name, func(name string) ([]byte, error) { return fs.ReadFile(fsys, name) })
}

func load(path string, readFile func(path string) ([]byte, error)) (map[string]string, error) {
	decode := decoders[strings.ToLower(filepath.Ext(path))]
	if decode == nil {
		return nil, fmt.Errorf("dogpile: config %q: unknown extension %q; known: .json, .toml, .yaml, .yml",
			path, filepath.Ext(path))
	}
	b, err := readFile(path)
	// A PathError names the file, which the error here does already.
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	var settings map[string]string
	if err == nil {
		settings, err = parse(b, decode)
	}
	if err != nil {
		return nil, fmt.Errorf("dogpile: config %q: %w", path, err)
	}
	return settings, nil
}

func parse(b []byte, decode func([]byte) (any, error)) (map[string]string, error) {
	// One parser would replace bad bytes without a word, another would refuse the
	// mark that Windows editors put first, a third would take other encodings: what
	// a file means shall not depend on its format.
	b = bytes.TrimPrefix(b, byteOrderMark)
	if !utf8.Valid(b) {
		return nil, errors.New("the file is not in UTF-8")
	}
	tree, err := decode(b)
	if err != nil {
		return nil, err
	}
	return flatten(tree)
}

var byteOrderMark = []byte("\ufeff")

// FromEnv returns the environment variables whose names begin with prefix, in
// the same form as Load: the prefix is cut off, "__" becomes ".", and the rest
// is put in lower case, so that FromEnv("DOGPILE_") gives the value of
// DOGPILE_CACHE__USERS__STALE_FOR as cache.users.stale_for. A region "UserCache"
// takes cache.usercache.stale_for for its own, in place of what a file says under
// cache.UserCache.stale_for. Values are not touched. The prefix is compared with its case; of two names that differ in
// case alone the later in the environment counts. A variable whose whole name is
// the prefix is left out. The map is never nil, and is the caller's.
func FromEnv(prefix string) map[string]string {
	settings := make(map[string]string)
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		name, ours := strings.CutPrefix(name, prefix)
		// Windows has variables such as "=C:=C:\dir", whose names Cut takes as empty.
		if !ours || name == "" {
			continue
		}
		settings[strings.ToLower(strings.ReplaceAll(name, "__", "."))] = value
	}
	return settings
}

// decoders return the tree that is written in a file: tables as map[string]any,
// map[any]any or members, lists as []any, null as nil.
var decoders = map[string]func([]byte) (any, error){
	".json": decodeJSON,
	".toml": decodeTOML,
	".yaml": decodeYAML,
	".yml":  decodeYAML,
}
