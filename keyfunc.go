package dogpile

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Keyer is an argument that knows how it stands in keys. Two arguments that
// are not the same return different strings; any string will do, for what keys
// may not have is escaped.
type Keyer interface{ CacheKey() string }

// A KeyFunc makes the key of a call of the function called name. An error is
// returned to the caller of the function. It may be called from many
// goroutines at once, and does not keep args.
type KeyFunc func(name string, args ...any) (string, error)

// PythonKeys returns a KeyFunc that makes the keys of dogpile.cache's
// function_key_generator for functions of a Python module, "module:name|a b",
// with arguments as Python's str writes them. The function's name includes its
// namespace, if there is one: "name|namespace".
//
// Arguments may be nil, booleans, integers, floats, strings, and pointers to
// those, also of named types; any other is an error. The keys are not always
// fit for a backend (they have spaces in them), nor always different:
// ("a b", "c") and ("a", "b c") share one. SHA1 is the Mangler that mends the
// former.
func PythonKeys(module string) KeyFunc {
	return func(name string, args ...any) (string, error) {
		key := append(append([]byte(module), ':'), name...)
		for i, arg := range args {
			sep := byte(' ')
			if i == 0 {
				sep = '|'
			}
			var err error
			if key, err = appendPython(append(key, sep), reflect.ValueOf(arg)); err != nil {
				return "", fmt.Errorf("argument %d: %w", i+1, err)
			}
		}
		if len(args) == 0 {
			key = append(key, '|')
		}
		return string(key), nil
	}
}

// appendPython appends what Python's str makes of v.
func appendPython(dst []byte, v reflect.Value) ([]byte, error) {
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Invalid, reflect.Pointer:
		return append(dst, "None"...), nil
	case reflect.Bool:
		if v.Bool() {
			return append(dst, "True"...), nil
		}
		return append(dst, "False"...), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(dst, v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(dst, v.Uint(), 10), nil
	case reflect.Float32, reflect.Float64:
		return appendPythonFloat(dst, v.Float()), nil
	case reflect.String:
		return append(dst, v.String()...), nil
	}
	return dst, fmt.Errorf("%v has no form in a Python key", v.Type())
}

// appendPythonFloat appends what Python's repr makes of f: as few digits as
// tell it from others, an exponent from 1e16 and below 1e-4, and else a point.
func appendPythonFloat(dst []byte, f float64) []byte {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, "nan"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	case abs >= 1e16 || abs < 1e-4 && f != 0:
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if f == math.Trunc(f) {
		dst = append(dst, ".0"...)
	}
	return dst
}

// checkName reports what is wrong with the name of a function.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a function needs a name")
	case !utf8.ValidString(name):
		return fmt.Errorf("function name %q is not UTF-8", name)
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return fmt.Errorf("function name %q has a space or control character in it", name)
	}
	return nil
}
