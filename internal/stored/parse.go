package stored

import (
	"bytes"
	"math"
	"strconv"
	"time"
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
func Parse(data []byte) (m Meta, payload []byte, err error) { return ParseExpecting(data, "", "") }

// ParseExpecting is Parse for a caller who knows which version and schema most
// entries have: if data has them, Meta has those strings, and no memory is taken
// for them. The result is the same in any case.
//
// A string that shares the memory of data would cost nothing either. But it would
// keep the whole entry in memory for as long as somebody keeps the version.
func ParseExpecting(data []byte, version, schema string) (m Meta, payload []byte, err error) {
	bar := bytes.IndexByte(data, '|')
	if bar < 0 {
		return Meta{}, nil, ErrMalformed
	}
	p := parser{in: data[:bar], version: version, schema: schema}
	if p.written() {
		return p.meta, data[bar+1:], nil
	}
	// It has set some of Meta before it found that the entry is none of its own.
	p = parser{in: data[:bar], version: version, schema: schema}
	if !p.header() || p.seen&sawV == 0 {
		return Meta{}, nil, ErrMalformed
	}
	if p.otherVersion { // before bad: what another version means by our keys is its own affair
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
	sawD
	sawS
	sawF
	sawI
	sawN
	sawG
)

// parser walks over in. Its methods report whether what they look for is
// there, and step over it if it is.
type parser struct {
	in           []byte
	version      string // that most entries have
	schema       string // that most entries have
	pos          int
	meta         Meta
	seen         uint16
	otherVersion bool
	bad          bool // the JSON is sound, a value of ours is not
}

// written reads what Append writes today, unless the entry has durations of its own, in
// a third of the time that header takes for it. What it does not read need not be
// wrong.
func (p *parser) written() bool {
	if !p.word(`{"ct": `) || !p.seconds(&p.meta.Created) || !p.word(`, "v": 2`) {
		return false
	}
	version, ok := p.writtenString(`, "t": `, sawT)
	schema, fine := p.writtenString(`, "s": `, sawS)
	ok = ok && fine
	var tags tagList
	if ok && p.word(`, "g": `) {
		tags, ok = p.tagList()
	}
	if p.word(`, "d": `) {
		ok = ok && p.seconds((*int64)(&p.meta.Took))
	}
	// In 2001 the seconds came to have ten digits. Of such a time a float64 is the same
	// whether it is read in one piece or put together as appendSeconds takes it apart.
	if !ok || p.meta.Created < 1e18 || !p.byte('}') || p.pos < len(p.in) || !p.takeTags(tags) {
		return false
	}
	p.take(version)
	p.take(schema)
	return true
}

// text is a string that was read, and whose.
type text struct {
	bit     uint16
	raw     []byte // nil: there is none
	escaped bool
}

// writtenString reads a string with its key, if they are there.
func (p *parser) writtenString(key string, bit uint16) (t text, ok bool) {
	if !p.word(key) {
		return text{}, true
	}
	t.bit = bit
	t.raw, t.escaped, ok = p.string()
	return t, ok && len(t.raw) > 0
}

func (p *parser) take(t text) {
	if t.raw != nil {
		p.setString(t.bit, t.raw, t.escaped)
	}
}

// seconds reads a number of at most nine digits after the point, and as many or one more
// before it, as nanoseconds.
func (p *parser) seconds(ns *int64) bool {
	from := p.pos
	whole, n := p.integer()
	if n == 0 || n > 10 || whole >= 9e9 || p.in[from] == '0' && n > 1 || !p.byte('.') {
		return false
	}
	part, n := p.integer()
	if n == 0 || n > 9 {
		return false
	}
	*ns = nanoseconds(float64(whole) + float64(part*powers[9-n])/1e9)
	return true
}

var powers = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

// integer reads n digits. If they are more than 18, i is of no use.
func (p *parser) integer() (i int64, n int) {
	for _, c := range p.in[p.pos:] {
		digit := c - '0'
		if digit > 9 {
			break
		}
		i = i*10 + int64(digit)
		n++
	}
	p.pos += n
	return i, n
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
	// Python may have written a key of ours with escapes. The longest has two characters.
	var buf [2 * len(`\u0000`)]byte
	if escaped && len(raw) <= len(buf) {
		raw = unquote(buf[:0], raw)
	}
	bit := uint16(0)
	switch string(raw) {
	case "ct":
		bit = sawCT
	case "v":
		bit = sawV
	case "t":
		bit = sawT
	case "e":
		bit = sawE
	case "d":
		bit = sawD
	case "s":
		bit = sawS
	case "f":
		bit = sawF
	case "i":
		bit = sawI
	case "n":
		bit = sawN
	case "g":
		bit = sawG
	default:
		return p.skip(maxDepth)
	}
	if p.seen&bit != 0 { // readers of JSON do not agree on which of two counts
		return false
	}
	p.seen |= bit
	start := p.pos
	if bit == sawG {
		if tags, ok := p.tagList(); ok && p.takeTags(tags) {
			return true
		}
		p.pos = start
	}
	if p.pos < len(p.in) && p.in[p.pos] == '"' {
		raw, escaped, ok := p.string()
		p.setString(bit, raw, escaped)
		return ok
	}
	if p.number() {
		p.setNumber(bit, p.in[start:p.pos])
		return true
	}
	// Another version may follow, whose values of our keys may be of any type.
	p.pos, p.bad = start, true
	return p.skip(maxDepth)
}

func (p *parser) setString(bit uint16, raw []byte, escaped bool) {
	into, expected := &p.meta.Version, p.version
	if bit == sawS {
		into, expected = &p.meta.Schema, p.schema
	}
	if bit != sawT && bit != sawS || len(raw) == 0 {
		p.bad = true
		return
	}
	if escaped {
		raw = unquote(make([]byte, 0, len(raw)), raw)
	}
	if *into = expected; string(raw) != expected { // a comparison takes no memory
		*into = string(raw)
	}
}

func (p *parser) setNumber(bit uint16, text []byte) {
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
	case bit == sawE:
		p.setDuration(&p.meta.ExpireIn, f)
	case bit == sawF:
		p.setDuration(&p.meta.StaleFor, f)
	case bit == sawI:
		p.setDuration(&p.meta.StaleIfError, f)
	case bit == sawN && f == 1:
		p.meta.NotFound = true
	case bit == sawD && f >= 0:
		p.meta.Took = time.Duration(nanoseconds(f))
	default:
		p.bad = true
	}
}

// setDuration sets what is above 0, or -1 for without bound.
func (p *parser) setDuration(d *time.Duration, f float64) {
	if f == -1 {
		*d = -1
		return
	}
	*d = time.Duration(nanoseconds(f))
	p.bad = p.bad || *d <= 0
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
