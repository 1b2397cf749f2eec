package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMigrateOfAPyramidApplication: what a whole file becomes, comments included.
func TestMigrateOfAPyramidApplication(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, err := os.ReadFile("testdata/production.ini")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "production.ini"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/production.toml")
	if err != nil {
		t.Fatal(err)
	}
	got := execute(t, dir, "migrate", "production.ini")
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if toml := strings.ReplaceAll(got.stdout, dir, "/srv/shop"); toml != string(want) || got.code != 0 {
		t.Errorf("exit %d\n%s", got.code, toml)
	}
	lines := strings.Split(strings.TrimSpace(got.stderr), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "dogpile: cache.images.arguments.filename: the format of the file is another one") ||
		!strings.HasPrefix(lines[1], "dogpile: cache.pages.arguments.password: is secret, and not written; ") || !strings.HasPrefix(lines[2], "dogpile: cache.pages.wrap: ") {
		t.Errorf("%q", lines)
	}
	if strings.Contains(got.stdout+got.stderr, "hunter2") || strings.Contains(got.stdout+got.stderr, "secret@db") {
		t.Error("a password shows")
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	accepted(t, got.stdout)
}

// accepted fails the test unless dogpile check finds no fault in settings.
func accepted(t *testing.T, toml string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.toml"), []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := execute(t, dir, "check", "app.toml"); got.code != 0 {
		t.Errorf("%+v of\n%s", got, toml)
	}
}

// migrateRows are settings of Python, in JSON unless name says something else, and the lines that
// they become, but for comments; and what is said to be lost.
var migrateRows = []struct {
	name, in string
	want     []string
	lost     []string
}{
	{"memory", `{"cache.a.backend": "dogpile.cache.memory", "cache.a.expiration_time": 0}`,
		[]string{"[cache.a]", `backend = "memory"`, "expiration_time = 0"}, nil},
	{"memory with copies and a dict", `{"cache": {"a": {"backend": "dogpile.cache.memory_pickle", "expiration_time": null, "arguments": {"cache_dict": []}}}}`,
		[]string{"[cache.a]", `backend = "memory"`, "arguments.copy = true"}, []string{"cache.a.arguments.cache_dict: regions that share a dict"}},
	{"null, with what is unknown", `{"cache.a.backend": "dogpile.cache.null", "cache.a.arguments.x": 1, "cache.a.replace_existing_backend": true, "cache.a.y": null}`,
		[]string{"[cache.a]", `backend = "null"`, "replace_existing_backend = true"}, []string{"cache.a.arguments.x: has no counterpart"}},
	{"a region without a name", `{"cache.backend": "dogpile.cache.null"}`, []string{"[cache.default]", `backend = "null"`}, nil},
	{"names with dots and spaces", `{"cache.a.b.backend": "dogpile.cache.null", "cache.a.backend": "dogpile.cache.null", "cache.a.b.expiration_time": 5, "cache.c d.backend": "dogpile.cache.null"}`,
		[]string{"[cache.a]", `backend = "null"`, "[cache.a.b]", `backend = "null"`, "expiration_time = 5", `[cache."c d"]`, `backend = "null"`}, nil},
	{"a backend of the program's own", `{"cache.a.backend": "shop.cache", "cache.a.arguments.password": "hunter2", "cache.b.backend": "dogpile.cache.null"}`,
		[]string{"[cache.b]", `backend = "null"`}, []string{`cache.a.backend: "shop.cache" has no counterpart`}},
	{"Redis with a URL", `{"cache.a.backend": "dogpile.cache.redis", "cache.a.arguments.url": "rediss://u:hunter2@h:7000/3?socket_timeout=2", "cache.a.arguments.host": "ignored", "cache.a.arguments.lock_prefix": "lock:"}`,
		[]string{"[cache.a]", `backend = "rediss://h:7000/3"`, `prefix = "none"`, `arguments.username = "u"`, "arguments.timeout = 2", `arguments.lock_prefix = "lock:"`}, []string{"cache.a.arguments.password: is secret"}},
	{"Valkey by default, kept for less than it expires", `{"cache.a.backend": "dogpile.cache.valkey", "cache.a.expiration_time": 100, "cache.a.arguments.valkey_expiration_time": 60, "cache.a.arguments.ssl": true, "cache.a.arguments.connection_kwargs": {"ssl_ca_certs": "/etc/ca.pem", "ssl_cert_reqs": "none", "client_name": "shop", "weird": 1}}`,
		[]string{"[cache.a]", `backend = "rediss://localhost"`, "expiration_time = 60", "stale_for = 0", `prefix = "none"`, `arguments.client_name = "shop"`, `arguments.ca_file = "/etc/ca.pem"`, "arguments.insecure = true"},
		[]string{"cache.a.arguments.connection_kwargs.weird: has no counterpart"}},
	{"a backend that is a URL", `{"cache.a.backend": "redis://:hunter2@h", "cache.backends.backend": "dogpile.cache.redis", "cache.backends.arguments.host": "::1"}`,
		[]string{"[cache.backends_]", `backend = "redis://[::1]:6379"`, `prefix = "none"`}, []string{"cache.a.backend: what it is has no counterpart", "cache.backends.backend: the name of the region"}},
	{"a socket of Redis", `{"cache.a.backend": "dogpile.cache.redis", "cache.a.arguments.url": "unix:///run/redis.sock?db=2", "cache.a.arguments.lock_blocking_timeout": 5}`,
		[]string{"[cache.a]", `backend = "redis+unix:///run/redis.sock?db=2"`, `prefix = "none"`}, []string{"cache.a.arguments.lock_blocking_timeout: create_timeout"}},
	{"Sentinel", `{"cache.a.backend": "dogpile.cache.redis_sentinel", "cache.a.arguments.sentinels": [["h1", 26379], ["h2", 26380]], "cache.a.arguments.service_name": "main", "cache.a.arguments.db": 2, "cache.a.arguments.sentinel_kwargs": {"password": "hunter2"}}`,
		[]string{"[cache.a]", `backend = "redis+sentinel://h1:26379,h2:26380/main/2"`, `prefix = "none"`}, []string{"cache.a.arguments.sentinel_kwargs.password: is secret, and not written; set arguments.sentinel_password here"}},
	{"Cluster", `{"cache.a.backend": "dogpile.cache.redis_cluster", "cache.a.arguments.startup_nodes": [{"host": "h1", "port": 7000}, "h2:7001"]}`,
		[]string{"[cache.a]", `backend = "redis+cluster://h1:7000,h2:7001"`, `prefix = "none"`}, nil},
	{"python-memcached", `{"cache.a.backend": "dogpile.cache.memcached", "cache.a.arguments.url": ["h1:11211", "h2"], "cache.a.arguments.dead_retry": 30, "cache.a.arguments.socket_timeout": 3, "cache.a.arguments.min_compress_len": 100}`,
		[]string{"[cache.a]", `backend = "memcached://h1:11211,h2"`, `prefix = "none"`, `arguments.hash = "crc32"`, "arguments.python_lock = true", "arguments.timeout = 3", "arguments.connect_timeout = 3", "arguments.breaker_cooldown = 30"},
		[]string{"cache.a.arguments.min_compress_len: proxies"}},
	{"pylibmc", `{"cache.a.backend": "dogpile.cache.pylibmc", "cache.a.arguments": {"url": ["h1", "h2"], "username": "u", "password": "hunter2", "memcached_expire_time": 60, "behaviors": {"ketama_weighted": true, "receive_timeout": 250000, "send_timeout": 100000, "connect_timeout": 500, "remove_failed": 1, "no_block": true, "cas": true}}}`,
		[]string{"[cache.a]", `backend = "memcached://h1,h2"`, "expiration_time = 60", "stale_for = 0", `prefix = "none"`, `arguments.hash = "ketama_weighted"`, `arguments.username = "u"`, `arguments.protocol = "binary"`, "arguments.connect_timeout = 0.5", "arguments.timeout = 0.25"},
		[]string{"cache.a.arguments.password: is secret", "cache.a.arguments.behaviors.remove_failed: no key moves"}},
	{"pymemcache", `{"cache.a.backend": "dogpile.cache.pymemcache", "cache.a.arguments.url": [["h1", 11211], ["h2", 11212]], "cache.a.arguments.hashclient_dead_timeout": 5, "cache.a.arguments.hashclient_retry_attempts": 3, "cache.a.arguments.tls_context": "x"}`,
		[]string{"[cache.a]", `backend = "memcacheds://h1:11211,h2:11212"`, `prefix = "none"`, `arguments.hash = "rendezvous"`, "arguments.python_lock = true", "arguments.breaker_cooldown = 5", "arguments.breaker_failures = 3"},
		[]string{"cache.a.arguments.tls_context: is TLS"}},
	{"bmemcached", `{"cache.a.backend": "dogpile.cache.bmemcached", "cache.a.arguments.url": ["h1", "h2"]}`,
		[]string{"[cache.a]", `backend = "memcached://h1,h2"`, `prefix = "none"`, "arguments.python_lock = true"},
		[]string{"cache.a.arguments.url: bmemcached spreads", "cache.a.backend: bmemcached marks"}},
	{"numbers that are none", `{"cache.a.backend": "dogpile.cache.redis", "cache.a.expiration_time": "soon", "cache.a.arguments.lock_timeout": 1e9}`,
		[]string{"[cache.a]", `backend = "redis://localhost"`, `prefix = "none"`}, []string{"cache.a.expiration_time: is not a number", "cache.a.arguments.lock_timeout: 1e+09 seconds"}},
	{"text that would end a string or a comment", `{"cache.a\n[x]\n.backend": "dogpile.cache.dbm", "cache.a\n[x]\n.arguments.filename": "a\"b\u007f"}`,
		[]string{`[cache."a\n[x]\n"]`, `backend = "file"`, `arguments.path = "a\"b\u007f.dogpile"`}, []string{"cache.a; [x]; .arguments.filename: "}},
	{"the environment", "# for the shop\nexport APP_CACHE__USERS__BACKEND='dogpile.cache.redis'\nAPP_CACHE__USERS__ARGUMENTS__HOST=h\nAPP_DEBUG=1\n",
		[]string{"[cache.users]", `backend = "redis://h:6379"`, `prefix = "none"`}, nil},
	{"an .ini file without a prefix of sections", "[DEFAULT]\nx = %(y)s 100%%\n[cache]\ncache.a.backend = dogpile.cache.redis\ncache.a.arguments.host = h\ncache.a.arguments.db = 0\n ; a comment\n",
		[]string{"[cache.a]", `backend = "redis://h:6379"`, `prefix = "none"`}, nil},
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	for _, row := range migrateRows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			cmd := in(t, t.TempDir(), "migrate", "-")
			cmd.Stdin = strings.NewReader(row.in)
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, stderr.String())
			}
			var got []string
			for line := range strings.Lines(stdout.String()) {
				line, _, _ = strings.Cut(line, "#")
				if line = strings.TrimSpace(line); line != "" {
					got = append(got, line)
				}
			}
			if strings.Join(got, "\n") != strings.Join(row.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(row.want, "\n"))
			}
			lost := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			for i, want := range row.lost {
				if i >= len(lost) || !strings.Contains(lost[i], want) {
					t.Errorf("lost: %q, want %q", lost, row.lost)
				}
			}
			if n := strings.Count(stderr.String(), "\n"); n > len(row.lost) {
				t.Errorf("lost: %q, want %q", lost, row.lost)
			}
			if strings.Contains(stdout.String()+stderr.String(), "hunter2") {
				t.Error("a password shows")
			}
			if !strings.Contains(stdout.String(), "/etc/ca.pem") {
				accepted(t, stdout.String())
			}
		})
	}
}

// TestMigrateOfWhatIsNoSettings: one line, with the line of the file where there is one.
func TestMigrateOfWhatIsNoSettings(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ in, args, want string }{
		"no JSON":             {"{\n'a': 1}", "", "-: no JSON: syntax error on line 2"},
		"a list":              {"[1]", "--from=json", "-: no JSON object"},
		"nothing of the kind": {`{"x": 1}`, "", `-: no backend of dogpile.cache is set under a key that begins with "cache."`},
		"another prefix":      {`{"a.backend": "dogpile.cache.null"}`, "--prefix=b.", `begins with "b."`},
		"no section":          {"[a]\nx=1\n", "--section=b", "there is no section [b]"},
		"several sections":    {"[a]\ncache.a.backend=dogpile.cache.null\n[b]\ncache.a.backend=dogpile.cache.null\n", "--section=", "several sections have settings of dogpile.cache: a, b; --section says which"},
		"no setting":          {"[a]\nhunter2\n", "--from=ini", "-: line 2 is neither a section nor a setting"},
		"a circle":            {"[a]\nx = %(y)s\ny = %(x)s\n", "--section=a", "lead in a circle"},
		"no line of env":      {"A=1\nhunter2\n", "--from=env", "-: line 2 is no NAME=VALUE"},
		"empty":               {"", "--from=json", "-: no JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"migrate", "-"}
			if row.args != "" {
				args = append(args, row.args)
			}
			cmd := in(t, t.TempDir(), args...)
			cmd.Stdin = strings.NewReader(row.in)
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			cmd.Run()
			text := stderr.String()
			if cmd.ProcessState.ExitCode() != 1 || stdout.String() != "" || strings.Count(text, "\n") != 1 || !strings.Contains(text, row.want) || strings.Contains(text, "hunter2") {
				t.Errorf("exit %d, %q, %q, want %q", cmd.ProcessState.ExitCode(), stdout.String(), text, row.want)
			}
		})
	}
}
