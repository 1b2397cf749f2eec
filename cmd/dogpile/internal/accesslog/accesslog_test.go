package accesslog_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/accesslog"
)

const stamp = `[10/Oct/2000:13:55:36 -0700]`

var pacific = time.Date(2000, 10, 10, 20, 55, 36, 0, time.UTC) // the same moment

var parseRows = []struct {
	name, line, path string
	time             time.Time
}{
	{"common", `127.0.0.1 - frank ` + stamp + ` "GET /apache_pb.gif HTTP/1.0" 200 2326`, "/apache_pb.gif", pacific},
	{"combined", `127.0.0.1 - frank ` + stamp + ` "GET /a HTTP/1.0" 200 2326 "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"`, "/a", pacific},
	{"further fields", `127.0.0.1 - - ` + stamp + ` "GET /a HTTP/1.0" 200 2326 "-" "x" "10.0.0.1" 0.004`, "/a", pacific},
	{"IPv6", `2001:db8::1 - - ` + stamp + ` "GET /a HTTP/2.0" 200 1`, "/a", pacific},
	{"IPv6 in brackets", `[2001:db8::1]:443 - - ` + stamp + ` "GET /a HTTP/2.0" 200 1`, "/a", pacific},
	{"virtual host in front", `example.com:443 ::1 - - ` + stamp + ` "GET /a HTTP/2.0" 200 1`, "/a", pacific},
	{"user with a space", `::1 - John Doe ` + stamp + ` "GET /a HTTP/1.1" 200 1`, "/a", pacific},
	{"no size", `::1 - - ` + stamp + ` "HEAD /a HTTP/1.1" 304 -`, "/a", pacific},
	{"other time zone", `::1 - - [01/Jan/2024:00:30:00 +0530] "GET /a HTTP/1.1" 200 1`, "/a", time.Date(2023, 12, 31, 19, 0, 0, 0, time.UTC)},
	{"leap day", `::1 - - [29/Feb/2024:12:00:00 +0000] "GET /a HTTP/1.1" 200 1`, "/a", time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)},
	{"query", `::1 - - ` + stamp + ` "GET /a/b?c=d?e#f HTTP/1.1" 200 1`, "/a/b", pacific},
	{"escaped quote in path", `::1 - - ` + stamp + ` "GET /a\"b\\c\x7ed HTTP/1.1" 200 1`, `/a"b\c~d`, pacific},
	{"escaped quote in agent", `::1 - - ` + stamp + ` "GET /a HTTP/1.1" 200 1 "-" "a \"quoted\" agent"`, "/a", pacific},
	{"percent stays", `::1 - - ` + stamp + ` "GET /a%20b HTTP/1.1" 200 1`, "/a%20b", pacific},
	{"HTTP/0.9", `::1 - - ` + stamp + ` "GET /a" 200 1`, "/a", pacific},
	{"whole URL", `::1 - - ` + stamp + ` "GET http://example.com/a%2Fb?c HTTP/1.1" 200 1`, "/a%2Fb", pacific},
	{"whole URL without path", `::1 - - ` + stamp + ` "GET http://example.com HTTP/1.1" 200 1`, "/", pacific},

	{"empty", "", "", time.Time{}},
	{"words", "this is not a log", "", time.Time{}},
	{"no client", stamp + ` "GET /a HTTP/1.1" 200 1`, "", time.Time{}},
	{"no user", `::1 - ` + stamp + ` "GET /a HTTP/1.1" 200 1`, "", time.Time{}},
	{"no time", `::1 - - "GET /a HTTP/1.1" 200 1`, "", time.Time{}},
	{"impossible time", `::1 - - [31/Feb/2024:12:00:00 +0000] "GET /a HTTP/1.1" 200 1`, "", time.Time{}},
	{"time without zone", `::1 - - [10/Oct/2000:13:55:36] "GET /a HTTP/1.1" 200 1`, "", time.Time{}},
	{"time not closed", `::1 - - [10/Oct/2000:13:55:36 -0700 "GET /a HTTP/1.1" 200 1`, "", time.Time{}},
	{"request not quoted", `::1 - - ` + stamp + ` GET /a HTTP/1.1 200 1`, "", time.Time{}},
	{"request not closed", `::1 - - ` + stamp + ` "GET /a HTTP/1.1 200 1`, "", time.Time{}},
	{"escape at the end", `::1 - - ` + stamp + ` "GET /a\`, "", time.Time{}},
	{"no request", `::1 - - ` + stamp + ` "-" 408 0`, "", time.Time{}},
	{"binary request", `::1 - - ` + stamp + ` "\x16\x03\x01" 400 226`, "", time.Time{}},
	{"no path", `::1 - - ` + stamp + ` "OPTIONS * HTTP/1.1" 200 1`, "", time.Time{}},
	{"CONNECT", `::1 - - ` + stamp + ` "CONNECT example.com:443 HTTP/1.1" 200 1`, "", time.Time{}},
	{"space in path", `::1 - - ` + stamp + ` "GET /a b HTTP/1.1" 200 1`, "", time.Time{}},
	{"no status", `::1 - - ` + stamp + ` "GET /a HTTP/1.1"`, "", time.Time{}},
	{"no space before status", `::1 - - ` + stamp + ` "GET /a HTTP/1.1"200 1`, "", time.Time{}},
	{"status is no number", `::1 - - ` + stamp + ` "GET /a HTTP/1.1" 2xx 1`, "", time.Time{}},
	{"status too short", `::1 - - ` + stamp + ` "GET /a HTTP/1.1" 20 1`, "", time.Time{}},
	{"size is no number", `::1 - - ` + stamp + ` "GET /a HTTP/1.1" 200 big`, "", time.Time{}},
	{"cut off before size", `::1 - - ` + stamp + ` "GET /a HTTP/1.1" 200`, "", time.Time{}},
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, row := range parseRows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			e, err := accesslog.Parse(row.line)
			if (err != nil) != (row.path == "") {
				t.Fatalf("error %v", err)
			}
			if e.Path != row.path || !e.Time.Equal(row.time) {
				t.Errorf("got %q at %v, want %q at %v", e.Path, e.Time, row.path, row.time)
			}
		})
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	line := func(path string) string { return `::1 - - ` + stamp + ` "GET ` + path + ` HTTP/1.1" 200 1` }
	rows := []struct {
		name, in  string
		paths     []string
		malformed int
	}{
		{"nothing", "", nil, 0},
		{"one line without its end", line("/a"), []string{"/a"}, 0},
		{"CRLF", line("/a") + "\r\n" + line("/b") + "\r\n", []string{"/a", "/b"}, 0},
		{"empty lines", "\n\n" + line("/a") + "\n \t\r\n", []string{"/a"}, 0},
		{"malformed lines", "x\n" + line("/a") + "\ny\nz\n" + line("/a"), []string{"/a", "/a"}, 3},
		{"line too long", line("/a") + "\n" + line("/"+strings.Repeat("x", 3*accesslog.MaxLine)) + "\n" + line("/b") + "\n",
			[]string{"/a", "/b"}, 1},
		{"last line too long", line("/a") + "\n" + strings.Repeat("x", 2*accesslog.MaxLine), []string{"/a"}, 1},
		{"zero bytes", line("/a") + "\n\x00\x00\n", []string{"/a"}, 1},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			entries, malformed, err := accesslog.Read(strings.NewReader(row.in))
			if err != nil {
				t.Fatal(err)
			}
			var paths []string
			for _, e := range entries {
				paths = append(paths, e.Path)
			}
			if !slices.Equal(paths, row.paths) || malformed != row.malformed {
				t.Errorf("got %q and %d malformed, want %q and %d", paths, malformed, row.paths, row.malformed)
			}
		})
	}
}

func TestReadError(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	for name, before := range map[string]string{
		"at once":            "",
		"within a long line": strings.Repeat("x", 2*accesslog.MaxLine),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := accesslog.Read(io.MultiReader(strings.NewReader(before), iotest.ErrReader(broken)))
			if !errors.Is(err, broken) {
				t.Errorf("error %v, want %v", err, broken)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`127.0.0.1 - frank ` + stamp + ` "GET /a\"\x7e?b HTTP/1.0" 200 2326 "http://www.example.com/" "Mozilla/4.08 [en]"`)
	f.Add(`[::1] - - ` + stamp + ` "GET http://example.com/a HTTP/1.0" 304 -`)
	f.Fuzz(func(t *testing.T, line string) {
		e, err := accesslog.Parse(line)
		if err != nil {
			if e != (accesslog.Entry{}) {
				t.Fatalf("an entry as well as an error: %v", e)
			}
			return
		}
		if !strings.HasPrefix(e.Path, "/") || strings.ContainsAny(e.Path, "?#") || e.Time.IsZero() && !strings.Contains(line, "0001") {
			t.Fatalf("%q gives %q at %v", line, e.Path, e.Time)
		}
		entries, malformed, err := accesslog.Read(strings.NewReader(line))
		if !strings.ContainsAny(line, "\n") && len(line) < accesslog.MaxLine && (err != nil || malformed != 0 || len(entries) != 1) {
			t.Fatalf("Parse takes %q, Read gives %v, %d malformed, %v", line, entries, malformed, err)
		}
	})
}
