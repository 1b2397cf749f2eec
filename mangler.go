package dogpile

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"unicode/utf8"
)

// A Mangler makes the key that the backend sees of the key that the caller
// gave, with the region's prefix before it. It is called for every operation
// and from many goroutines, and always makes the same of the same key. Keys of
// which it makes the same are one entry. Creators, hooks and errors are given
// keys as they were.
type Mangler func(key string) string

// SHA1 is a Mangler: the SHA-1 sum of the key as 40 lower-case hexadecimal
// digits, as dogpile.cache's sha1_mangle_key makes it. An attacker that can choose
// keys can find two with one sum; [SHA256] is the safe choice where nothing is shared
// with Python.
func SHA1(key string) string {
	sum := sha1.Sum([]byte(key))
	return hex.EncodeToString(sum[:])
}

// SHA256 is a Mangler: the SHA-256 sum of the key as 64 lower-case hexadecimal
// digits.
func SHA256(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// Prefix returns a Mangler that puts p before the key.
func Prefix(p string) Mangler {
	return func(key string) string { return p + key }
}

// IfLonger returns a Mangler that applies m to keys of n code points or more,
// like dogpile.cache's length_conditional_mangler, and leaves shorter ones as
// they are. It panics if m is nil.
func IfLonger(n int, m Mangler) Mangler {
	if m == nil {
		panic("dogpile: IfLonger of a nil Mangler")
	}
	return func(key string) string {
		if len(key) >= n && utf8.RuneCountInString(key) >= n {
			return m(key)
		}
		return key
	}
}

// Chain returns a Mangler that applies ms from left to right; without any it
// changes nothing. It panics if one of them is nil.
func Chain(ms ...Mangler) Mangler {
	for _, m := range ms {
		if m == nil {
			panic("dogpile: Chain of a nil Mangler")
		}
	}
	ms = append([]Mangler(nil), ms...)
	return func(key string) string {
		for _, m := range ms {
			key = m(key)
		}
		return key
	}
}

var manglers = registry[Mangler]{kind: "mangler", m: map[string]Mangler{"sha1": SHA1, "sha256": SHA256}}

// RegisterMangler makes a mangler known to settings under a name, as SHA1 is
// under "sha1" and SHA256 under "sha256". It panics if m is nil or name is
// empty or taken.
func RegisterMangler(name string, m Mangler) { manglers.add(name, m, m == nil) }

func manglerNamed(name string) (Mangler, error) { return manglers.named(name) }
