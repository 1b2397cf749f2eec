package stored

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// Tag is one tag of an entry, with the versions of its two tokens that the entry was
// created under.
//
// The tags are stored as one array of strings, three of them for each tag:
//
//	"g": ["name", "hard", "soft", "name2", "hard2", "soft2"]
//
// An empty array means no tags. An array of another length, an empty version, and a name
// in hex that is no hex are malformed.
type Tag struct {
	// Name is the tag as the user wrote it: any string, which comes back byte for byte.
	// A name that is not valid UTF-8, or that begins with U+0000, is stored as U+0000
	// followed by its bytes in hex, since JSON has no other bytes than those of UTF-8.
	Name string

	// Hard is the version of the token whose change makes the entry missing. It is
	// never "": an entry that is written with "" is malformed. Bytes that are not UTF-8
	// are stored as U+FFFD.
	Hard string

	// Soft is the version of the token whose change makes the entry stale. What holds
	// for Hard holds for it.
	Soft string
}

// appendTags appends the member of the tags, if there are any.
func appendTags(dst []byte, tags []Tag) []byte {
	between := `, "g": [`
	for i := range tags {
		t := &tags[i]
		dst = appendName(append(dst, between...), t.Name)
		dst = appendString(append(dst, ", "...), t.Hard)
		dst = appendString(append(dst, ", "...), t.Soft)
		between = ", "
	}
	if len(tags) > 0 {
		dst = append(dst, ']')
	}
	return dst
}

// appendName writes name as appendString does, or in hex where that would lose bytes of
// it, or where the reader would take it for hex.
func appendName(dst []byte, name string) []byte {
	if utf8.ValidString(name) && !strings.HasPrefix(name, "\x00") {
		return appendString(dst, name)
	}
	dst = append(dst, `"\u0000`...)
	return append(hex.AppendEncode(dst, []byte(name)), '"')
}

// tagList is an array of tags that was stepped over.
type tagList struct {
	start   int // behind its bracket
	strings int // how many it has, three for each tag
	size    int // of what stands between the quotes of all of them
}

// tagList reads an array of as many strings as tags have. It takes no memory: what the
// tags will need is known, from what is there, before any of them is made.
func (p *parser) tagList() (l tagList, ok bool) {
	if !p.byte('[') {
		return tagList{}, false
	}
	l.start = p.pos
	for p.element(l.strings) {
		raw, _, ok := p.string()
		// A tag may have no name, though a version is never empty.
		if !ok || len(raw) == 0 && l.strings%3 != 0 {
			return tagList{}, false
		}
		l.strings++
		l.size += len(raw)
	}
	return l, p.byte(']') && l.strings%3 == 0
}

// element steps over what stands before element i of an array. It is false where none
// follows.
func (p *parser) element(i int) bool {
	p.space()
	if i == 0 {
		return p.pos < len(p.in) && p.in[p.pos] != ']'
	}
	if !p.byte(',') {
		return false
	}
	p.space()
	return true
}

// takeTags sets the tags that tagList has found. It takes memory twice, however many they
// are: for the tags, and for all of their strings. The position stays, unless a name is
// malformed.
func (p *parser) takeTags(l tagList) bool {
	if l.strings == 0 {
		return true
	}
	end := p.pos
	p.pos = l.start
	tags := make([]Tag, l.strings/3)
	var all strings.Builder
	all.Grow(l.size)
	for i := range l.strings {
		p.element(i)
		raw, escaped, _ := p.string()
		if escaped { // not in place: raw is part of the entry, which is the caller's
			raw = unquote(make([]byte, 0, len(raw)), raw)
		}
		t := &tags[i/3]
		switch i % 3 {
		case 0:
			var ok bool
			if raw, ok = name(raw); !ok {
				return false
			}
			t.Name = add(&all, raw)
		case 1:
			t.Hard = add(&all, raw)
		case 2:
			t.Soft = add(&all, raw)
		}
	}
	p.meta.Tags, p.pos = tags, end
	return true
}

// add writes b to all, and returns the part of it that b has become. What is written
// later goes behind it, so it stays as it is.
func add(all *strings.Builder, b []byte) string {
	from := all.Len()
	all.Write(b) // it was grown to hold everything, and never moves
	return all.String()[from:]
}

// name is the reverse of appendName. It may write over what it is given if that was
// escaped; as it begins with U+0000 only then, it never writes to the input of Parse.
func name(text []byte) ([]byte, bool) {
	if len(text) == 0 || text[0] != 0 {
		return text, true
	}
	n, err := hex.Decode(text, text[1:])
	return text[:n], err == nil
}
