// Package accesslog reads access logs in Common or Combined Log Format.
package accesslog

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Entry is what is used of one line.
type Entry struct {
	Time time.Time
	Path string // of the request, without its query; begins with "/"
}

// MaxLine is the length in bytes from which on a line counts as malformed.
const MaxLine = 64 << 10

// Read reads lines until r ends and returns the entries in the order of the
// file, and how many lines were malformed. Empty lines count as neither. Lines
// end with LF or CRLF. The error is that of r.
func Read(r io.Reader) (entries []Entry, malformed int, err error) {
	in := bufio.NewReaderSize(r, MaxLine)
	paths := make(map[string]string)
	for {
		line, long, err := in.ReadLine()
		if err == io.EOF {
			return entries, malformed, nil
		}
		if err != nil {
			return entries, malformed, err
		}
		if long {
			malformed++
			for long && err == nil {
				_, long, err = in.ReadLine()
			}
			continue
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		e, err := Parse(string(line))
		if err != nil {
			malformed++
			continue
		}
		// One copy of each path, so that the lines themselves can be forgotten.
		path, ok := paths[e.Path]
		if !ok {
			path = strings.Clone(e.Path)
			paths[path] = path
		}
		entries = append(entries, Entry{e.Time, path})
	}
}

var errMalformed = errors.New("line is not in Common or Combined Log Format")

// Parse reads one line without its line end:
//
//	host ident user [02/Jan/2006:15:04:05 -0700] "GET /path HTTP/1.1" 200 1234
//
// In Combined Log Format two quoted fields follow; what comes after the size is
// not looked at. A line whose request has no path, such as "-", is malformed.
func Parse(line string) (Entry, error) {
	client, rest, ok := strings.Cut(line, " [")
	if !ok || len(strings.Fields(client)) < 3 {
		return Entry{}, errMalformed
	}
	stamp, rest, ok := strings.Cut(rest, `] "`)
	if !ok {
		return Entry{}, errMalformed
	}
	t, err := time.Parse("02/Jan/2006:15:04:05 -0700", stamp)
	if err != nil {
		return Entry{}, errMalformed
	}
	request, rest, ok := unquote(rest)
	if !ok || !statusAndSize(rest) {
		return Entry{}, errMalformed
	}
	path, ok := pathOf(request)
	if !ok {
		return Entry{}, errMalformed
	}
	return Entry{t, path}, nil
}

// unquote returns the field that s begins with, up to its closing quote, and
// what follows it. Servers write \" for a quote, \\ for a backslash and \xhh for
// other bytes.
func unquote(s string) (field, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case s[i+1] == 'x' && i+3 < len(s):
			n, err := strconv.ParseUint(s[i+2:i+4], 16, 8)
			if err != nil {
				b.WriteByte(s[i])
				continue
			}
			b.WriteByte(byte(n))
			i += 3
		default:
			i++
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

func statusAndSize(s string) bool {
	fields := strings.Fields(s)
	if len(fields) < 2 || !strings.HasPrefix(s, " ") {
		return false
	}
	status, err := strconv.ParseUint(fields[0], 10, 16)
	if err != nil || len(fields[0]) != 3 || status < 100 {
		return false
	}
	_, err = strconv.ParseUint(fields[1], 10, 64)
	return err == nil || fields[1] == "-"
}

// pathOf returns the path of a request line, whose target is a path or, in the
// log of a proxy, a whole URL.
func pathOf(request string) (string, bool) {
	fields := strings.Fields(request)
	if len(fields) < 2 || len(fields) > 3 {
		return "", false
	}
	target := fields[1]
	if !strings.HasPrefix(target, "/") {
		u, err := url.Parse(target)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return "", false
		}
		target = "/" + strings.TrimPrefix(u.EscapedPath(), "/")
	}
	path, _, _ := strings.Cut(target, "?")
	path, _, _ = strings.Cut(path, "#")
	return path, true
}
