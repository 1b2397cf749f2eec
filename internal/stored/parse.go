package stored

import (
	"bytes"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxDepth bounds the nesting of values under keys that Parse does not know.
const maxDepth = 64

// Parse takes an entry apart. The payload is what follows the first bar: it
// aliases data, and it is empty, not nil, when nothing follows; whether a value
// can be made of that is for its codec to say.
//
// The metadata may stand in any order and spacing and hold other keys, with
// any value that Python's json.dumps writes, NaN and Infinity included. An
// entry that is well formed but of another version is ErrVersion; everything
// else that Append could not have meant is ErrMalformed: no object, "ct" or
// "v" absent, one of our keys given twice or with a value of another type or
// out of range. With an error the other results are zero.
func Parse(data []byte) (m Meta, payload []byte, err error) {
	bar := bytes.IndexByte(data, '|')
	if bar < 0 {
		return Meta{}, nil, ErrMalformed
	}
	p := parser{in: data[:bar]}
	if !p.header() || p.seen&sawV == 0 {
		return Meta{}, nil, ErrMalformed
	}
	if p.otherVersion {
		return Meta{}, nil, ErrVersion
	}
	if p.bad || p.seen&sawCT == 0 {
		return Meta{}, nil, ErrMalformed
	}
	return p.meta, data[bar+1:], nil
}

const (
	sawCT = 1 << iota
	sawV
	sawT
	sawE
)

// parser walks over in. Its methods report whether what they look for is
// there, and step over it if it is.
type parser struct {
	in           []byte
	pos          int
	meta         Meta
	seen         uint8
	otherVersion bool
	bad          bool // the JSON is sound, a value of ours is not
}

// header reads the whole input, one object.
func (p *parser) header() bool {
	p.space()
	if !p.byte('{') {
		return false
	}
	p.space()
	if !p.byte('}') {
		for {
			if !p.member() {
				return false
			}
			p.space()
			if p.byte('}') {
				break
			}
			if !p.byte(',') {
				return false
			}
			p.space()
		}
	}
	p.space()
	return p.pos == len(p.in)
}

// member reads `"key": value` of the outermost object.
func (p *parser) member() bool {
	raw, escaped, ok := p.string()
	if !ok || !p.colon() {
		return false
	}
	var buf [2 * len(`\u0000`)]byte
	if escaped && len(raw) <= len(buf) {
		raw = unquote(buf[:0], raw)
	}
	bit := uint8(0)
	switch string(raw) {
	case "ct":
		bit = sawCT
	case "v":
		bit = sawV
	case "t":
		bit = sawT
	case "e":
		bit = sawE
	default:
		return p.skip(maxDepth)
	}
	if p.seen&bit != 0 {
		return false
	}
	p.seen |= bit
	start := p.pos
	if p.pos < len(p.in) && p.in[p.pos] == '"' {
		raw, escaped, ok := p.string()
		p.setString(bit, raw, escaped)
		return ok
	}
	if p.number() {
		p.setNumber(bit, p.in[start:p.pos])
		return true
	}
	p.pos, p.bad = start, true
	return p.skip(maxDepth)
}

func (p *parser) setString(bit uint8, raw []byte, escaped bool) {
	if bit != sawT || len(raw) == 0 {
		p.bad = true
		return
	}
	if escaped {
		raw = unquote(make([]byte, 0, len(raw)), raw)
	}
	p.meta.Version = string(raw)
}

func (p *parser) setNumber(bit uint8, text []byte) {
	if bit == sawV && len(text) == 1 {
		p.otherVersion = text[0] != '2'
		return
	}
	f, err := strconv.ParseFloat(string(text), 64)
	switch {
	case bit == sawV:
		p.otherVersion = f != 2
	case bit == sawCT && err == nil:
		p.meta.Created = nanoseconds(f)
		p.bad = p.bad || p.meta.Created <= 0 || p.meta.Created == math.MaxInt64
	case bit == sawE && f == -1:
		p.meta.ExpireIn = -1
	case bit == sawE:
		p.meta.ExpireIn = time.Duration(nanoseconds(f))
		p.bad = p.bad || p.meta.ExpireIn <= 0
	default:
		p.bad = true
	}
}

// nanoseconds is the reverse of appendSeconds: what that writes of
// nanoseconds(s) is read as nanoseconds(s) again. It is exact to half a
// nanosecond, and saturates where an int64 ends.
func nanoseconds(s float64) int64 {
	const limit = math.MaxInt64 / 1_000_000_000
	switch {
	case s >= limit:
		return math.MaxInt64
	case s <= -limit:
		return math.MinInt64
	}
	whole, part := math.Modf(s)
	return int64(whole)*1e9 + int64(math.Round(part*1e9))
}

func (p *parser) space() {
	for p.pos < len(p.in) {
		switch p.in[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) byte(c byte) bool {
	if p.pos < len(p.in) && p.in[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *parser) colon() bool {
	p.space()
	if !p.byte(':') {
		return false
	}
	p.space()
	return true
}

func (p *parser) word(w string) bool {
	if len(p.in)-p.pos >= len(w) && string(p.in[p.pos:p.pos+len(w)]) == w {
		p.pos += len(w)
		return true
	}
	return false
}

// string reads a JSON string and returns what stands between its quotes, and
// whether that has escapes.
func (p *parser) string() (raw []byte, escaped, ok bool) {
	if !p.byte('"') {
		return nil, false, false
	}
	start, ascii := p.pos, true
	for p.pos < len(p.in) {
		c := p.in[p.pos]
		switch {
		case c == '"':
			raw = p.in[start:p.pos]
			p.pos++
			return raw, escaped, ascii || utf8.Valid(raw)
		case c == '\\':
			escaped = true
			if !p.escape() {
				return nil, false, false
			}
			continue
		case c < ' ':
			return nil, false, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
		p.pos++
	}
	return nil, false, false
}

func (p *parser) escape() bool {
	p.pos++
	if p.pos == len(p.in) {
		return false
	}
	c := p.in[p.pos]
	p.pos++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			if p.pos == len(p.in) || !isHex(p.in[p.pos]) {
				return false
			}
			p.pos++
		}
		return true
	}
	return false
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// number reads a JSON number; where there is none the position may be
// anywhere.
func (p *parser) number() bool {
	p.byte('-')
	if !p.byte('0') && !p.digits() {
		return false
	}
	if p.byte('.') && !p.digits() {
		return false
	}
	if p.byte('e') || p.byte('E') {
		if !p.byte('+') {
			p.byte('-')
		}
		return p.digits()
	}
	return true
}

func (p *parser) digits() bool {
	start := p.pos
	for p.pos < len(p.in) && '0' <= p.in[p.pos] && p.in[p.pos] <= '9' {
		p.pos++
	}
	return p.pos > start
}

// skip steps over any JSON value of at most depth levels.
func (p *parser) skip(depth int) bool {
	if p.pos == len(p.in) || depth == 0 {
		return false
	}
	switch p.in[p.pos] {
	case '"':
		_, _, ok := p.string()
		return ok
	case '{', '[':
		return p.skipNested(depth - 1)
	case 't':
		return p.word("true")
	case 'f':
		return p.word("false")
	case 'n':
		return p.word("null")
	case 'N':
		return p.word("NaN")
	case 'I':
		return p.word("Infinity")
	}
	return p.word("-Infinity") || p.number()
}

func (p *parser) skipNested(depth int) bool {
	object := p.in[p.pos] == '{'
	end := p.in[p.pos] + 2 // in ASCII '}' follows '{', and ']' follows '[', by two
	p.pos++
	p.space()
	if p.byte(end) {
		return true
	}
	for {
		if object {
			if _, _, ok := p.string(); !ok || !p.colon() {
				return false
			}
		}
		if !p.skip(depth) {
			return false
		}
		p.space()
		if p.byte(end) {
			return true
		}
		if !p.byte(',') {
			return false
		}
		p.space()
	}
}
