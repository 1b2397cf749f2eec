package migrate

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// quote returns text as a string of TOML.
func quote(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(text) // a string has no error
	// What JSON may have as it is, and TOML may not.
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`)
}

// decimal returns a number of TOML.
func decimal(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

var bare = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// tomlKey returns the name of a table.
func tomlKey(name string) string {
	parts := strings.Split(name, ".")
	for i, part := range parts {
		if !bare.MatchString(part) {
			parts[i] = quote(part)
		}
	}
	return strings.Join(parts, ".")
}

// oneLine returns text as it can stand in a comment.
func oneLine(text string) string {
	return strings.Map(func(c rune) rune {
		if c != ' ' && !unicode.IsPrint(c) {
			return '\uFFFD'
		}
		return c
	}, text)
}
