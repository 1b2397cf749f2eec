package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// printable returns text as it can be shown on a terminal: as it is if it has printable
// characters alone and cannot be taken for a quoted one, else quoted.
func printable(text string) string {
	if text == "" || text[0] == '"' || strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) || !utf8.ValidString(text) {
		return strconv.Quote(text)
	}
	return text
}

// escaped returns text with what is not printable escaped, but for line ends.
func escaped(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case r == '\n' || strconv.IsPrint(r):
			b.WriteString(text[:n])
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[n:]
	}
	return b.String()
}

// columnsOf returns how many columns a terminal has, and 0 for what is none.
func columnsOf(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil || width <= 0 {
		return 80
	}
	return width
}

// painter colours words on a terminal, unless NO_COLOR is set.
type painter bool

func painterOf(w io.Writer) painter {
	return painter(columnsOf(w) > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (p painter) paint(colour, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// table is rows below each other with aligned columns.
type table [][]string

// write writes the table. On a terminal no line is longer than that is wide: the last column is
// cut short, or if that leaves it no room, all are.
func (t table) write(w io.Writer) error {
	const gap = "  "
	var widths []int
	for _, row := range t {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if i < len(row)-1 {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	columns := columnsOf(w)
	var b strings.Builder
	for _, row := range t {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)) + gap)
			}
		}
		b.WriteString(cut(strings.TrimRight(line.String(), " "), columns))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cut returns a line that fits into so many columns; 0: any does.
func cut(line string, columns int) string {
	if columns == 0 || utf8.RuneCountInString(line) <= columns {
		return line
	}
	return string([]rune(line)[:columns-1]) + "…"
}

// wrap breaks text between words into lines of so many columns; of fewer than 20, or none, it makes
// one line.
func wrap(text string, columns int) (lines []string) {
	if columns < 20 {
		return []string{text}
	}
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > columns:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// writeJSON writes one object and a line end.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// text is bytes in JSON: a string if they are one, else their base64.
type text struct {
	String *string
	Base64 *string
}

func textOf(b []byte) text {
	if utf8.Valid(b) {
		s := string(b)
		return text{String: &s}
	}
	s := base64.StdEncoding.EncodeToString(b)
	return text{Base64: &s}
}

// keyFields are a key in JSON.
type keyFields struct {
	Key       *string `json:"key,omitempty"`
	KeyBase64 *string `json:"key_base64,omitempty"` // in place of key where that is not UTF-8
}

func keyOf(key string) keyFields {
	t := textOf([]byte(key))
	return keyFields{t.String, t.Base64}
}

// brief writes a duration for people, with three digits or less.
func brief(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + brief(-d)
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < 999500*time.Nanosecond:
		return digits(float64(d)/float64(time.Microsecond)) + " µs"
	case d < 999500*time.Microsecond:
		return digits(float64(d)/float64(time.Millisecond)) + " ms"
	case d < 59500*time.Millisecond:
		return digits(d.Seconds()) + " s"
	case d < time.Hour-time.Second/2:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func digits(x float64) string {
	switch {
	case x >= 99.95:
		return fmt.Sprintf("%.0f", x)
	case x >= 9.995:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// bytesOf writes a number of bytes for people.
func bytesOf(n int64) string {
	if n < 10_000 {
		return fmt.Sprintf("%d bytes", n)
	}
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	x := float64(n) / 1024
	i := 0
	for x >= 1000 && i < len(units)-1 {
		x /= 1024
		i++
	}
	return digits(x) + " " + units[i]
}

// seconds is a duration in JSON.
func seconds(d time.Duration) *float64 {
	s := math.Round(d.Seconds()*1e6) / 1e6
	return &s
}

// barOf draws a bar of so many columns, at least a sliver for what is not 0.
func barOf(length float64) string {
	const eighths = "▏▎▍▌▋▊▉█"
	if length <= 0 {
		return ""
	}
	n := max(int(math.Round(length*8)), 1)
	bar := strings.Repeat("█", n/8)
	if rest := n % 8; rest > 0 {
		bar += string([]rune(eighths)[rest-1])
	}
	return bar
}
