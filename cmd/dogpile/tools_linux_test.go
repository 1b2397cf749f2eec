package main_test

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// patient are arguments for a machine that is busy.
const patient = "timeout=20s&connect_timeout=20s"

// backends starts a Redis, a memcached and a file, by name, and returns their URLs.
func backends(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"redis":     startRedis(t).url,
		"memcached": "memcached://" + backendtest.StartMemcached(t).Addr() + "?" + patient,
		"file":      fileURL(t),
	}
}

func fileURL(t *testing.T) string {
	t.Helper()
	return "file://?timeout=20s&path=" + url.QueryEscape(filepath.Join(t.TempDir(), "cache.db"))
}

// regionAt returns a region of this process over the backend that the command is to look at.
func regionAt(t *testing.T, url, name string, o *dogpile.Options) *dogpile.Region {
	t.Helper()
	b, err := driver.Open(t.Context(), url)
	ok(t, err)
	t.Cleanup(func() { driver.Close(b) })
	if o == nil {
		o = &dogpile.Options{Expiration: time.Hour}
	}
	o.Logger = slog.New(slog.DiscardHandler)
	o.BackendTimeout = cmp.Or(o.BackendTimeout, time.Minute) // the machine may be busy
	r := dogpile.NewRegion(name)
	ok(t, r.Configure(b, o))
	return r
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// object is the JSON of a line.
func object(t *testing.T, line string) (fields map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &fields); err != nil || strings.Count(line, "\n") != 1 {
		t.Fatalf("%q is not one JSON object (%v)", line, err)
	}
	return fields
}

// write writes a file into dir and returns its path.
func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	ok(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// quietly runs the command, which has to exit with 0 and to say nothing on stderr.
func quietly(t *testing.T, args ...string) string {
	t.Helper()
	got := tool(t, args...)
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("%q: %+v", args, got)
	}
	return got.stdout
}

func tool(t *testing.T, args ...string) ran {
	t.Helper()
	got := execute(t, t.TempDir(), args...)
	if strings.Contains(got.stdout+got.stderr, "hunter2") {
		t.Errorf("%q shows a password: %+v", args, got)
	}
	return got
}

// moving is what differs from run to run.
var moving = regexp.MustCompile(`\d+(\.\d+)? (ns|µs|ms|s)\b|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC|\d+m\d\ds|\d+h\d\dm`)

// settled returns text with what differs from run to run as "_".
func settled(text string) string { return moving.ReplaceAllString(text, "_") }
