package main_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// checkRows are settings files, what dogpile check writes about them, and its exit code.
var checkRows = []struct {
	name, file, content string
	args                []string
	code                int
	stdout, stderr      string
}{
	{"nothing is wrong", "app.toml", "[cache.users]\nbackend = 'memory'\nexpiration = '1d'\ncodec = 'cbor'\nproxies = 'breaker, compress'\n[log]\nlevel = 1", nil, 0,
		"app.toml: nothing is wrong\n", ""},
	{"warnings alone", "app.yaml", "cache:\n  backends: {main: memory}\n  users: {backend: 'null', expiration: 0}", nil, 0,
		"warning: cache.backends.main: no region uses this backend\nwarning: cache.users.expiration: each call creates, as every entry is stale from the beginning; without this setting entries never expire\n", ""},
	{"faults and warnings", "app.json", `{"app.users": {"backend": "@main", "jitter": 2}, "app.rates.backend": "memory", "app.rates.stale_for": 5, "app.x": 1}`, []string{"--settings-prefix", "app."}, 1,
		"fault: app.users.backend: there is no shared backend \"main\"; known: none, app.backends.main would be one\nfault: app.users.jitter: 2 is not from 0 to less than 1\nfault: app.x: belongs to no region\n" +
			"warning: app.rates.stale_for: it has no effect where a cache has no expiration, as the region has none\n",
		"dogpile: app.json: 3 of its settings are at fault\n"},
	{"a forgotten import", "app.toml", "cache.a.backend = 'memory'\ncache.a.proxies = 'mine'", nil, 1,
		"fault: cache.a.proxies: unknown proxy \"mine\" (forgotten import?); known: breaker, chaos, compress, log\n", "dogpile: app.toml: 1 of its settings are at fault\n"},
	{"no such prefix", "app.toml", "users.backend = 'memory'", nil, 1, "", "dogpile: app.toml: no setting begins with \"cache.\"; --settings-prefix says with what they do\n"},
	{"copies", "app.toml", "[cache.users]\nbackend = 'redis://h'\nnear.lag = '2s'\nnear.max_entries = 10\n", nil, 0,
		"app.toml: nothing is wrong\n", ""},
	{"the environment", "app.toml", "cache.UserCache.backend = 'memory'\ncache.UserCache.expiration = '1h'", []string{"--env", "CHECKED_"}, 1,
		"fault: cache.usercache.expiration: neither a duration like \"1m30s\" or \"2d\" nor a number of seconds\n", "dogpile: app.toml: 1 of its settings are at fault\n"},
	{"syntax", "app.toml", "cache", nil, 1, "", "dogpile: config \"app.toml\": syntax error on line 1\n"},
}

func TestCheck(t *testing.T) {
	t.Setenv("CHECKED_CACHE__USERCACHE__EXPIRATION", "soon")
	for _, row := range checkRows {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, row.file), []byte(row.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got := execute(t, dir, append([]string{"check", row.file}, row.args...)...)
			if want := (ran{row.code, row.stdout, row.stderr}); got != want {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestCheckOfAFileThatIsNotThere(t *testing.T) {
	t.Parallel()
	got := execute(t, t.TempDir(), "check", "absent.toml")
	if got.code != 1 || got.stdout != "" || !strings.HasPrefix(got.stderr, `dogpile: config "absent.toml": `) {
		t.Errorf("got %+v", got)
	}
}

// TestCheckHelpTellsTheExitCodes: scripts go by them.
func TestCheckHelpTellsTheExitCodes(t *testing.T) {
	t.Parallel()
	got := execute(t, t.TempDir(), "check", "--help")
	for _, want := range []string{"It exits with 0 if there is no fault", "with 1 if", "and with 2 if", "--settings-prefix", "--env"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("help does not say %q: %s", want, got.stdout)
		}
	}
	for _, args := range [][]string{{"check"}, {"check", "a.toml", "b.toml"}, {"check", "--bogus", "a.toml"}} {
		if got := execute(t, t.TempDir(), args...); got.code != 2 || got.stdout != "" {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

// TestCheckConnectsNowhere: a server that is down, or that is not to be disturbed, is no
// matter of the settings.
func TestCheckConnectsNowhere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			conn.Close()
		}
	}()
	var content strings.Builder
	for i, url := range []string{"redis://:p@HOST/0", "rediss://HOST", "redis+cluster://HOST", "redis+sentinel://HOST/mymaster", "memcached://HOST", "memcacheds://u:p@HOST", "memory", "null"} {
		fmt.Fprintf(&content, "[cache.r%d]\nbackend = %q\n", i, strings.ReplaceAll(url, "HOST", l.Addr().String()))
		if i < 6 { // those that are shared
			fmt.Fprintln(&content, "near = true")
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.toml"), []byte(content.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	got := execute(t, dir, "check", "app.toml")
	if want := (ran{0, "app.toml: nothing is wrong\n", ""}); got != want {
		t.Errorf("got %+v", got)
	}
	l.Close()
	<-ended
	if n := connections.Load(); n > 0 {
		t.Errorf("it made %d connections", n)
	}
}

// TestCheckOfTheExamplesForPython: what docs/settings.md makes of a dict of dogpile.cache
// has no fault.
func TestCheckOfTheExamplesForPython(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(string(page), "```toml\n")[1:]
	if len(examples) == 0 {
		t.Fatal("the page has no example in TOML")
	}
	for _, example := range examples {
		example, _, _ = strings.Cut(example, "```")
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "app.toml"), []byte(example), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := execute(t, dir, "check", "app.toml"); got != (ran{0, "app.toml: nothing is wrong\n", ""}) {
			t.Errorf("got %+v of\n%s", got, example)
		}
	}
}
