// Package stored writes and reads the form in which an entry is kept: a line
// of metadata as a JSON object, a bar, and the value as its codec wrote it.
//
//	{"ct": 1795335672.9081824, "v": 2}|{"foo": "bar"}
//
// It is the form of dogpile.cache 1.1 and later. What that knows nothing about
// stands in the same object under short keys that it ignores; an entry has those only
// of which it has something to say. All of them, in the order in which they are written:
//
//	{"ct": 1795335672.9081824, "v": 2, "t": "version", "s": "schema", "e": 60.0, "f": 60.0,
//	 "i": 60.0, "n": 1, "g": ["tag", "hard version", "soft version"], "d": 1.5}|null
package stored

import (
	"errors"
	"math"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Meta is what is known about an entry apart from its value.
type Meta struct {
	// Created is the wall time at which the creation ended, in nanoseconds
	// since 1970, above 0. It is stored as a float64 of seconds, which today
	// rounds it to a quarter of a microsecond.
	Created int64

	// Took is how long the creation took: it began at Created less Took. 0, or
	// what is negative, is not stored: the creation took no time, or nobody knows.
	Took time.Duration

	// Version is the invalidation token, "" for none. Bytes that are not UTF-8
	// are stored as U+FFFD.
	Version string

	// ExpireIn is the expiration of this entry alone: 0 for none of its own,
	// negative for never. Parse returns never as -1.
	ExpireIn time.Duration

	// StaleFor is how long past its expiration this entry alone may be served: 0 for no
	// wish of its own, negative for without bound. Parse returns that as -1.
	StaleFor time.Duration

	// StaleIfError is how long past its expiration this entry alone may stand in for a
	// creator that fails, with the values of StaleFor.
	StaleIfError time.Duration

	// Schema is that of the value, "" for none. Bytes that are not UTF-8 are stored as
	// U+FFFD.
	Schema string

	// NotFound tells that the entry stands for the answer that there is no value. Its
	// payload is what programs read that know nothing of this.
	NotFound bool

	// Tags are what the entry depends on, in this order; nil for none. Those that Parse
	// returns share memory with each other, and none with the entry.
	Tags []Tag
}

// Errors of Parse. Both mean that there is no entry.
var (
	ErrMalformed = errors.New("dogpile: malformed entry")
	ErrVersion   = errors.New("dogpile: entry of another stored version")
)

// Append appends the metadata and the bar to dst and returns the extended
// slice. The value is to follow.
func Append(dst []byte, m Meta) []byte {
	dst = append(dst, `{"ct": `...)
	dst = appendSeconds(dst, m.Created)
	dst = append(dst, `, "v": 2`...)
	if m.Version != "" {
		dst = append(dst, `, "t": `...)
		dst = appendString(dst, m.Version)
	}
	if m.Schema != "" {
		dst = append(dst, `, "s": `...)
		dst = appendString(dst, m.Schema)
	}
	dst = appendDuration(dst, `, "e": `, m.ExpireIn)
	dst = appendDuration(dst, `, "f": `, m.StaleFor)
	dst = appendDuration(dst, `, "i": `, m.StaleIfError)
	if m.NotFound {
		dst = append(dst, `, "n": 1`...)
	}
	dst = appendTags(dst, m.Tags)
	dst = appendDuration(dst, `, "d": `, max(m.Took, 0))
	return append(dst, "}|"...)
}

// appendDuration appends a member unless d is 0, and -1 for what is less.
func appendDuration(dst []byte, key string, d time.Duration) []byte {
	switch {
	case d > 0:
		return appendSeconds(append(dst, key...), int64(d))
	case d < 0:
		return append(append(dst, key...), "-1"...)
	}
	return dst
}

// appendSeconds writes ns as seconds the way Python's json.dumps writes a
// float. Whole seconds and the rest are converted apart because a float64
// cannot hold today's nanoseconds; their sum is the float64 nearest to ns/1e9.
func appendSeconds(dst []byte, ns int64) []byte {
	f := float64(ns/1e9) + float64(ns%1e9)/1e9
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if f == math.Trunc(f) { // Python has a point in every float, and reads what has none as an int
		dst = append(dst, ".0"...)
	}
	return dst
}

// appendString writes s as JSON in printable ASCII without a bar.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case ' ' <= r && r <= '~' && r != '|':
			dst = append(dst, byte(r))
		case r > math.MaxUint16: // JSON escapes these as the two halves of UTF-16
			high, low := utf16.EncodeRune(r)
			dst = appendEscape(appendEscape(dst, high), low)
		default:
			dst = appendEscape(dst, r)
		}
	}
	return append(dst, '"')
}

func appendEscape(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

// unquote appends what stands between the quotes of a JSON string that the
// parser has accepted. Half a surrogate pair becomes U+FFFD. The result is
// never longer than raw.
func unquote(dst, raw []byte) []byte {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			continue
		}
		i++
		switch c := raw[i]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				var low rune
				if rest := raw[i+1:]; len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
					low = hex4(rest[2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				} // else what follows half a pair is read by itself
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c <= '9':
			r = r<<4 | rune(c-'0')
		default:
			r = r<<4 | rune(c|0x20-'a'+10)
		}
	}
	return r
}
