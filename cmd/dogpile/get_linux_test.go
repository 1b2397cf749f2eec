package main_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/pty"
	"github.com/dogpile-go/dogpile/config"
	"github.com/dogpile-go/dogpile/driver"
)

// TestGetWritesTheBytesThatAreStored on every backend, whatever they are.
func TestGetWritesTheBytesThatAreStored(t *testing.T) {
	t.Parallel()
	for name, url := range backends(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := regionAt(t, url, "users", nil)
			values := map[string]string{"json": `{"b":1,"a":"|é"}`, "empty": "", "binary": "\x00\xff|\x1b[2J\r\n", "text": "no line end"}
			cache := dogpile.NewCache(r, &dogpile.CacheOptions[[]byte]{Codec: dogpile.Bytes})
			for key, value := range values {
				ok(t, cache.Set(t.Context(), key, []byte(value)))
			}
			for key, value := range values {
				if got := quietly(t, "get", "--backend", url, "--region", "users", key); got != value {
					t.Errorf("%s: %q, want %q", key, got, value)
				}
				full := quietly(t, "get", "--backend", url, "users:"+key)
				if full != value {
					t.Errorf("%s by its whole key: %q, want %q", key, full, value)
				}
			}
			fields := object(t, quietly(t, "get", "--backend", url, "--region", "users", "--json", "binary"))
			if fields["value_base64"] != base64.StdEncoding.EncodeToString([]byte(values["binary"])) || fields["found"] != true || fields["key"] != "binary" {
				t.Errorf("%v", fields)
			}
			fields = object(t, quietly(t, "get", "--backend", url, "--region", "users", "--json", "json"))
			if fields["value"] != values["json"] || fields["state"] != "unknown" {
				t.Errorf("%v", fields)
			}
		})
	}
}

// getRows are entries of a region whose settings are in a file, and what get says of them.
var getRows = []struct {
	name, key      string
	args           []string
	code           int
	stdout, stderr string
}{
	{"fresh", "fresh", nil, 0, `"fresh"`, ""},
	{"stale is what readers are given", "stale", nil, 0, `"stale"`, ""},
	{"absent", "absent", nil, 3, "", "dogpile: absent is not there\n"},
	{"absent, for a program", "absent", []string{"--json"}, 3, `{"key":"absent","found":false}` + "\n", ""},
	{"invalidated", "old", nil, 3, "", "dogpile: old is invalidated; --any writes it\n"},
	{"invalidated, for a program", "old", []string{"--json"}, 3, `{"key":"old","found":false,"state":"invalidated"}` + "\n", ""},
	{"invalidated and wanted", "old", []string{"--any"}, 0, `"old"`, ""},
	{"of a schema", "schema", nil, 0, `"schema"`, ""},
	{"expired too long ago", "expired", nil, 3, "", "dogpile: expired has expired, and readers are given it no more; --any writes it\n"},
	{"expired too long ago, for a program", "expired", []string{"--json"}, 3, `{"key":"expired","found":false,"state":"expired"}` + "\n", ""},
	{"expired too long ago, and wanted", "expired", []string{"--any"}, 0, `"expired"`, ""},
	{"the answer that there is none", "none", nil, 3, "", "dogpile: none: the answer is that there is no value\n"},
	{"the answer that there is none, whatever it is", "none", []string{"--any"}, 3, "", "dogpile: none: the answer is that there is no value\n"},
	{"the answer that there is none, for a program", "none", []string{"--json"}, 3, `{"key":"none","found":false,"state":"fresh","not_found":true}` + "\n", ""},
	{"what no region can read", "damaged", nil, 3, "", "dogpile: damaged is no entry that a region could read: malformed entry\n"},
	{"a key that is not text", "\xff\x1b", []string{"--json"}, 3, `{"key_base64":"/xs=","found":false}` + "\n", ""},
	{"a key that would move the cursor", "\x1b[2J", nil, 3, "", "dogpile: \"\\x1b[2J\" is not there\n"},
	{"a key of ours", "_lockx", nil, 1, "", "dogpile: inspect \"_lockx\": keys that begin with _lock, _inv: or _tag: are reserved\n"},
}

func TestGetOfEveryState(t *testing.T) {
	t.Parallel()
	for name, url := range backends(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := write(t, t.TempDir(), "app.toml", "[cache.users]\nbackend = '"+url+"'\nexpiration = '1h'\ncodec = 'unknown-here'\n[cache.other]\nbackend = 'nosuch'\n")
			states(t, url)
			for _, row := range getRows {
				t.Run(row.name, func(t *testing.T) {
					got := tool(t, append([]string{"get", "--config", file, "--region", "users", row.key}, row.args...)...)
					if want := (ran{row.code, row.stdout, row.stderr}); got != want {
						t.Errorf("got %+v\nwant %+v", got, want)
					}
				})
			}
		})
	}
}

// staleRows are settings and marks of entries that have expired or were invalidated.
var staleRows = []struct {
	name, settings, want string
	mark                 func(c *dogpile.Control)
	soft                 bool
}{
	{name: "no time at all", settings: "expiration = '1ns'\nstale_for = 0\nstale_if_error = '1h'", want: "expired"},
	{name: "for a nanosecond", settings: "expiration = '1ns'\nstale_for = '1ns'\nstale_if_error = '1h'", want: "expired"},
	{name: "as long again", settings: "expiration = '1ns'\nstale_if_error = '1h'", want: "expired"},
	{name: "for an hour", settings: "expiration = '1ns'\nstale_for = '1h'", want: "stale"},
	{name: "without bound", settings: "expiration = '1ns'\nstale_for = 'never'", want: "stale"},
	{name: "no expiration", settings: "expiration = 0\nstale_for = '1h'", want: "stale"},
	{name: "no expiration, as long again", settings: "expiration = 0", want: "stale"},
	{name: "no expiration, no time at all", settings: "expiration = 0\nstale_for = 0\nstale_if_error = '1h'", want: "expired"},
	{name: "invalidated, and fresh but for that", settings: "expiration = '1h'\nstale_for = 0", soft: true, want: "stale"},
	{name: "invalidated, without an expiration", settings: "stale_for = 0", soft: true, want: "stale"},
	{name: "invalidated, and expired", settings: "expiration = '1ns'\nstale_for = 0\nstale_if_error = '1h'", soft: true, want: "expired"},
	{name: "its own expiration", settings: "expiration = '1h'\nstale_for = '1h'", mark: func(c *dogpile.Control) { c.ExpireIn(time.Nanosecond) }, want: "stale"},
	{name: "its own", settings: "expiration = '1ns'\nstale_for = '1h'\nstale_if_error = '1h'", mark: func(c *dogpile.Control) { c.StaleFor(time.Nanosecond) }, want: "expired"},
}

// TestStaleIsWhatReadersAreGiven: an entry that has expired longer ago than that is another thing, which
// may stand in for a creator that fails. Options and entries say how long that is.
func TestStaleIsWhatReadersAreGiven(t *testing.T) {
	t.Parallel()
	url := startRedis(t).url
	for _, row := range staleRows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			name := strings.NewReplacer(" ", "", ",", "").Replace(row.name)
			file := write(t, t.TempDir(), "app.toml", "[cache."+name+"]\nbackend = '"+url+"'\n"+row.settings+"\n")
			settings, err := config.Load(file)
			ok(t, err)
			r := dogpile.NewRegion(name)
			ok(t, dogpile.Setup{Settings: settings, Prefix: "cache."}.Configure(t.Context(), r))
			defer r.Close(context.Background())
			cache := dogpile.NewCache[string](r, nil)
			_, err = cache.GetOrCreate(t.Context(), "k", func(ctx context.Context) (string, error) {
				if row.mark != nil {
					row.mark(dogpile.Creation(ctx))
				}
				return "old", nil
			})
			ok(t, err)
			if row.soft {
				ok(t, r.Invalidate(t.Context(), dogpile.Soft))
			}
			code := map[string]int{"stale": 0, "expired": 3}[row.want]
			if got := tool(t, "peek", "--config", file, "--json", "k"); got.code != code || object(t, got.stdout)["state"] != row.want {
				t.Errorf("peek: %+v", got)
			}
			if got := tool(t, "get", "--config", file, "k"); got.code != code {
				t.Errorf("get: %+v", got)
			}
			if given := givenWhileCreated(t, cache, row.want == "stale"); given != (row.want == "stale") {
				t.Errorf("a reader is given the old value: %v, and the entry is said to be %s", given, row.want)
			}
		})
	}
}

// givenWhileCreated reports whether a reader is given the old value while another creates. stale:
// it should be; else the creation ends before.
func givenWhileCreated(t *testing.T, cache *dogpile.Cache[string], stale bool) bool {
	t.Helper()
	begun, given, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		cache.GetOrCreate(context.Background(), "k", func(context.Context) (string, error) {
			close(begun)
			<-given
			return "new", nil
		})
	}()
	<-begun
	if !stale {
		close(given)
	}
	v, err := cache.GetOrCreate(t.Context(), "k", func(context.Context) (string, error) { return "another", nil })
	if stale {
		close(given)
	}
	<-done
	ok(t, err)
	return v == "old"
}

var errNone = errors.New("none")

// states stores entries in all states in region users: fresh, stale, expired, old (invalidated), schema,
// none (an answer that there is none) and damaged.
func states(t *testing.T, url string) {
	t.Helper()
	r := regionAt(t, url, "users", nil)
	cache := dogpile.NewCache[string](r, nil)
	ok(t, cache.Set(t.Context(), "old", "old"))
	ok(t, r.Invalidate(t.Context(), dogpile.Hard))
	ok(t, cache.Set(t.Context(), "fresh", "fresh"))
	ok(t, cache.With(dogpile.CacheOptions[string]{Schema: "2"}).Set(t.Context(), "schema", "schema"))
	_, err := cache.GetOrCreate(t.Context(), "stale", func(ctx context.Context) (string, error) {
		dogpile.Creation(ctx).ExpireIn(time.Nanosecond)
		dogpile.Creation(ctx).StaleFor(time.Hour)
		dogpile.Creation(ctx).Tag(ctx, "product:42", "\x1b]0;hello")
		return "stale", nil
	})
	ok(t, err)
	_, err = cache.GetOrCreate(t.Context(), "expired", func(ctx context.Context) (string, error) {
		dogpile.Creation(ctx).ExpireIn(time.Nanosecond)
		dogpile.Creation(ctx).StaleFor(time.Nanosecond)
		dogpile.Creation(ctx).StaleIfError(time.Hour)
		return "expired", nil
	})
	ok(t, err)
	none := cache.With(dogpile.CacheOptions[string]{NotFound: errNone, NotFoundFor: time.Hour})
	if _, err := none.GetOrCreate(t.Context(), "none", func(context.Context) (string, error) { return "", errNone }); err != errNone {
		t.Fatal(err)
	}
	ok(t, r.Backend().Set(t.Context(), []driver.Item{{Key: "users:damaged", Data: []byte("no entry"), TTL: time.Hour}}))
}

// onTerminal runs the command on a terminal of so many columns, and returns what is shown.
func onTerminal(t *testing.T, columns int, env []string, args ...string) (shown string, code int) {
	t.Helper()
	master, slave, err := pty.Open(columns)
	ok(t, err)
	defer master.Close()
	cmd := in(t, t.TempDir(), args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = slave, slave, append(cmd.Env, env...)
	ok(t, cmd.Start())
	slave.Close()
	var all bytes.Buffer
	io.Copy(&all, master) // ends with an error when the last slave is closed
	cmd.Wait()
	return strings.ReplaceAll(all.String(), "\r\n", "\n"), cmd.ProcessState.ExitCode()
}

// TestHostileValuesOnATerminal are shown escaped, and JSON is indented.
func TestHostileValuesOnATerminal(t *testing.T) {
	t.Parallel()
	url := fileURL(t)
	cache := dogpile.NewCache(regionAt(t, url, "r", nil), &dogpile.CacheOptions[[]byte]{Codec: dogpile.Bytes})
	rows := map[string]struct{ value, want string }{
		"json":     {`{"a":[1,"é"]}`, "{\n  \"a\": [\n    1,\n    \"é\"\n  ]\n}\n"},
		"escapes":  {"\x1b[2J\x1b]0;title\a\x7f\r", `\x1b[2J\x1b]0;title\a\x7f\r` + "\n"},
		"not text": {"\xff\xfe é", `\xff\xfe é` + "\n"},
		"C1 in JSON and letters that turn the line around": {"[\"\u009b2J\u202e\"]", "[\n  \"" + `\u009b2J\u202e` + "\"\n]\n"},
	}
	for key, row := range rows {
		ok(t, cache.Set(t.Context(), key, []byte(row.value)))
		if shown, code := onTerminal(t, 60, nil, "get", "--backend", url, "--region", "r", key); shown != row.want || code != 0 {
			t.Errorf("%s: exit %d, %q, want %q", key, code, shown, row.want)
		}
	}
	long := strings.Repeat("x", 4096)
	shown, _ := onTerminal(t, 60, nil, "peek", "--backend", url, "--region", "r", long, "\x1b[2J\x9b")
	for line := range strings.Lines(shown) {
		if len([]rune(strings.TrimSuffix(line, "\n"))) > 60 || strings.Contains(line, "\x1b") || strings.Contains(line, "\x9b") {
			t.Errorf("line %q", line)
		}
	}
}
