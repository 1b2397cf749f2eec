package stored

import "unicode/utf8"

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
	for {
		n := 0
		for rest := p.in[p.pos:]; n < len(rest) && plain[rest[n]]; {
			n++
		}
		if p.pos += n; p.pos == len(p.in) {
			return nil, false, false
		}
		switch c := p.in[p.pos]; {
		case c == '"':
			raw = p.in[start:p.pos]
			p.pos++
			// Append writes ASCII, of which nothing has to be looked at twice.
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
}

// plain are the bytes that mean themselves in a JSON string, and nothing but themselves.
var plain = func() (plain [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		plain[c] = c != '"' && c != '\\'
	}
	return plain
}()

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
