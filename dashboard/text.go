package dashboard

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dogpile-go/dogpile"
)

const (
	keyInTable = 100      // bytes of a key
	keyInTitle = 300      // bytes of the key that a page is about
	maxValue   = 16 << 10 // bytes of a value
	maxDump    = 2 << 10  // bytes of one that is no text
	maxMarshal = 1 << 20  // bytes of the JSON of a Go value, about, before it is cut
	maxDepth   = 200      // of what is in it
)

func number(n int) string { return strconv.Itoa(n) }

// shownKey is a key as a page shows it. What cannot be seen, or would put what is around it
// out of order, is escaped.
type shownKey struct {
	Text  string
	Odd   bool   // Text is a Go string literal
	Bytes int    // of the key, if it is cut; 0: it is whole
	At    string // the address of its page; "": it has none
}

func showKey(key string, most int) shownKey {
	k := shownKey{Text: cut(key, most)}
	if len(k.Text) < len(key) {
		k.Bytes = len(key)
	}
	k.Odd = key == "" || strings.TrimSpace(key) != key || visible(k.Text) != k.Text || strings.ContainsAny(k.Text, "\n\t")
	if k.Odd {
		k.Text = strconv.Quote(k.Text)
	}
	return k
}

// key returns a key for a table, with its address.
func (p place) key(key string) shownKey {
	k := showKey(key, keyInTable)
	k.At = p.keyAt(key)
	return k
}

// cut returns the first bytes of s, and no half of a character.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for i := most; i > most-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:most]
}

// visible escapes what cannot be seen but by what it does to the text around it, but for
// ends of lines and tabs.
func visible(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && s[i] >= utf8.RuneSelf && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// shownValue is a value as a page shows it.
type shownValue struct {
	Kind string // what is shown
	Text string
	Note string // what is not
}

// showValue shows what a backend keeps: bytes, or a Go value.
func showValue(v any) shownValue {
	switch v := v.(type) {
	case []byte:
		return showBytes(v)
	case string:
		return showBytes([]byte(v))
	}
	kind := fmt.Sprintf("%T, as JSON", v)
	if budget := maxMarshal; !within(reflect.ValueOf(v), &budget, 0) {
		return shownValue{Kind: kind, Note: "It cannot be shown: it is too large, or nested too deep"}
	}
	data, err := marshal(v)
	if err != nil {
		return shownValue{Kind: kind, Note: "It cannot be shown: " + cut(err.Error(), maxText)}
	}
	shown := showBytes(data)
	shown.Kind = kind
	return shown
}

// marshal is json.Marshal, of types whose methods may panic.
func marshal(v any) (data []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it panics: %v", p)
		}
	}()
	return json.Marshal(v)
}

// within reports whether the JSON of v is of a size that budget allows for, roughly: what methods
// of types write is not known before. Like JSON it looks at exported fields alone. What has no end
// is too deep.
func within(v reflect.Value, budget *int, depth int) bool {
	if *budget -= 8; *budget < 0 || depth > maxDepth {
		return false
	}
	switch v.Kind() {
	case reflect.String:
		*budget -= v.Len()
	case reflect.Pointer, reflect.Interface:
		return v.IsNil() || within(v.Elem(), budget, depth+1)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			*budget -= v.Len()
			break
		}
		for i := range v.Len() {
			if !within(v.Index(i), budget, depth+1) {
				return false
			}
		}
	case reflect.Map:
		for each := v.MapRange(); each.Next(); {
			if !within(each.Key(), budget, depth+1) || !within(each.Value(), budget, depth+1) {
				return false
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if shown := (f.IsExported() || f.Anonymous) && f.Tag.Get("json") != "-"; shown && !within(v.Field(i), budget, depth+1) {
				return false
			}
		}
	}
	return *budget >= 0
}

// indents reports whether JSON that is indented by two blanks is of no more than most bytes. Each
// level of nesting indents all that is in it, and json.Indent would write it all.
func indents(data []byte, most int) bool {
	depth, n, quoted := 0, 0, false
	for i := 0; i < len(data) && n <= most; i++ {
		n++
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
			n++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			n += 1 + 2*depth
		case c == ',':
			n += 1 + 2*depth
		case c == '}' || c == ']':
			depth--
			n += 1 + 2*depth
		}
	}
	return n <= most
}

func showBytes(data []byte) shownValue {
	if !utf8.Valid(data) {
		v := shownValue{Kind: "bytes, in hexadecimal", Text: hex.Dump(data[:min(len(data), maxDump)])}
		if len(data) > maxDump {
			v.Note = "The first " + size(maxDump) + " of " + size(len(data)) + "."
		}
		return v
	}
	if len(data) > maxValue {
		return shownValue{
			Kind: "text", Text: visible(cut(string(data[:maxValue+1]), maxValue)),
			Note: "The first " + size(maxValue) + " of " + size(len(data)) + ".",
		}
	}
	var pretty bytes.Buffer
	if indents(data, 4*maxValue) && json.Indent(&pretty, data, "", "  ") == nil {
		return shownValue{Kind: "JSON", Text: visible(pretty.String())}
	}
	return shownValue{Kind: "text", Text: visible(string(data))}
}

// size returns a number of bytes for people.
func size(n int) string {
	switch {
	case n < 10_000:
		return group(int64(n)) + " B"
	case n < 10_000<<10:
		return group(int64(n>>10)) + " KiB"
	}
	return group(int64(n>>20)) + " MiB"
}

// group returns a number with its digits in groups.
func group(n int64) string {
	s := strconv.FormatInt(n, 10)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// rate returns how often something happens in a second.
func rate(r float64) string {
	if r > 0 && r < 9.95 {
		return strconv.FormatFloat(r, 'f', 1, 64)
	}
	return group(int64(r + 0.5))
}

// percent returns a part of a whole; "–" if there is no whole.
func percent(part, whole float64) string {
	switch {
	case whole <= 0:
		return "–"
	case part < whole && part/whole > 0.999:
		return "99.9 %" // 100 % is for when there is nothing else
	case part > 0 && part/whole < 0.001:
		return "0.1 %"
	}
	return strings.TrimSuffix(strconv.FormatFloat(100*part/whole, 'f', 1, 64), ".0") + " %"
}

// span returns a duration for people, to two or three digits.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "–" + span(-d)
	case d == 0:
		return "0 s"
	case d < time.Microsecond:
		return "< 1 µs"
	case d < time.Millisecond:
		return digits(float64(d)/float64(time.Microsecond)) + " µs"
	case d < time.Second:
		return digits(float64(d)/float64(time.Millisecond)) + " ms"
	case d < time.Minute:
		return digits(d.Seconds()) + " s"
	}
	d = d.Round(time.Second)
	days, d := d/(24*time.Hour), d%(24*time.Hour)
	h, m, s := d/time.Hour, d/time.Minute%60, d/time.Second%60
	switch {
	case days > 0:
		return fmt.Sprintf("%d d %d h", days, h)
	case h > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	}
	return fmt.Sprintf("%d min %d s", m, s)
}

// millis returns a duration in milliseconds, as a program can read it.
func millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms >= 100 {
		return strconv.FormatFloat(ms, 'f', 0, 64)
	}
	return strconv.FormatFloat(ms, 'g', 3, 64)
}

func digits(f float64) string {
	if f < 9.95 {
		return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
	}
	return strconv.FormatFloat(f, 'f', 0, 64)
}

// limit is span for an option, of which Never and 0 have a meaning.
func limit(d time.Duration, never, none string) string {
	switch {
	case d == dogpile.Never:
		return never
	case d <= 0:
		return none
	}
	return span(d)
}
