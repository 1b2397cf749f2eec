package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/config"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// peer is a Python program that is configured with the settings of a file.
const peer = `
import json, sys
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE
region = make_region(serializer=lambda v: json.dumps(v).encode(), deserializer=json.loads)
config = json.load(open(sys.argv[1]))
url = config.get("cache.users.arguments.url", [])
config["cache.users.arguments.url"] = [tuple(u) if isinstance(u, list) else u for u in url] or None # JSON has no tuples
region.configure_from_config(config, "cache.users.")
def create():
    print("creating", flush=True)
    sys.stdin.readline()
    return "made"
op, args = sys.argv[2], sys.argv[3:]
if op == "set":
    region.set(args[0], json.loads(args[1]))
elif op == "get":
    v = region.get(args[0])
    print("NO_VALUE" if v is NO_VALUE else json.dumps(v, sort_keys=True))
else:
    region.get_or_create(args[0], create)
`

func python(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), backendtest.Need(t, "/usr/bin/python3"), append([]string{"-c", peer}, args...)...)
}

// TestMigratedSettingsShareTheCacheWithPython: both read what the other has stored, and see the
// other's lock, on each kind of server.
func TestMigratedSettingsShareTheCacheWithPython(t *testing.T) {
	redis := startRedis(t)
	host, port, _ := strings.Cut(redis.addr, ":")
	// As the comment of the migrated settings says.
	t.Setenv("DOGPILE_CACHE__USERS__ARGUMENTS__PASSWORD", "hunter2")
	servers := func(n int) (addrs []string) {
		for range n {
			addrs = append(addrs, backendtest.StartMemcached(t).Addr())
		}
		return addrs
	}
	var pairs [][]any
	for _, addr := range servers(3) {
		host, port, _ := strings.Cut(addr, ":")
		n, err := strconv.Atoi(port)
		ok(t, err)
		pairs = append(pairs, []any{host, n})
	}
	for name, arguments := range map[string]map[string]any{
		"redis":      {"host": host, "port": port, "db": 3, "password": "hunter2", "thread_local_lock": false, "redis_expiration_time": 7200},
		"memcached":  {"url": servers(3)},
		"pylibmc":    {"url": servers(3), "behaviors": map[string]any{"ketama": true, "tcp_nodelay": true}},
		"pymemcache": {"url": pairs},
	} {
		settings := map[string]any{"cache.users.backend": "dogpile.cache." + name, "cache.users.expiration_time": 3600,
			"cache.users.arguments.distributed_lock": true, "cache.users.arguments.lock_timeout": 60}
		env := []string{}
		for key, value := range arguments {
			settings["cache.users.arguments."+key] = value
		}
		if name == "redis" {
			env = []string{"--env", "DOGPILE_"}
		}
		t.Run(name, func(t *testing.T) { shares(t, name, settings, env) })
	}
}

func shares(t *testing.T, name string, settings map[string]any, env []string) {
	text, err := json.Marshal(settings)
	ok(t, err)
	dir := t.TempDir()
	dict := write(t, dir, "dict.json", string(text))
	migrated := tool(t, "migrate", write(t, dir, "settings.json", string(text)))
	if migrated.code != 0 || (migrated.stderr != "") != (name == "redis") {
		t.Fatalf("%+v", migrated)
	}
	file := write(t, dir, "app.toml", migrated.stdout)
	quietly(t, append([]string{"check", "--connect", file}, env...)...)

	py := func(args ...string) string {
		out, err := python(t, append([]string{dict}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	ours := append([]string{"--config", file, "--region", "users"}, env...)
	values := map[string]string{"k1": `{"b": [1, false, null], "a": "é|"}`, "k2": `"v"`, "k3": "17", "k4": "null"}
	for key, value := range values {
		py("set", key, value)
		got := quietly(t, append([]string{"get", key}, ours...)...)
		if !sameJSON(got, value) {
			t.Errorf("%s: the command reads %s, Python has set %s", key, got, value)
		}
	}
	all, err := config.Load(file)
	ok(t, err)
	if len(env) > 0 {
		all["cache.users.arguments.password"] = "hunter2"
	}
	r := dogpile.NewRegion("users")
	ok(t, dogpile.Setup{Settings: all, Prefix: "cache."}.Configure(t.Context(), r))
	defer r.Close(t.Context())
	ok(t, dogpile.NewCache[map[string]int](r, nil).Set(t.Context(), "go", map[string]int{"x": 1}))
	if got := py("get", "go"); got != `{"x": 1}` {
		t.Errorf("Python reads %s", got)
	}
	quietly(t, append([]string{"rm", "k1"}, ours...)...)
	if got := py("get", "k1"); got != "NO_VALUE" {
		t.Errorf("Python reads what was removed: %s", got)
	}
	lockOfPython(t, dict, ours)
}

// lockOfPython checks that peek sees that Python creates.
func lockOfPython(t *testing.T, dict string, ours []string) {
	t.Helper()
	creates := python(t, dict, "create", "locked")
	stdin, err := creates.StdinPipe()
	ok(t, err)
	stdout, err := creates.StdoutPipe()
	ok(t, err)
	ok(t, creates.Start())
	defer creates.Wait()
	defer stdin.Close()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "creating\n" {
		t.Fatalf("%q, %v", line, err)
	}
	got := tool(t, append([]string{"peek", "locked", "--json"}, ours...)...)
	if fields := object(t, got.stdout); got.code != 3 || fields["creating"] != true || fmt.Sprint(fields["holder"]) != "map[program:python]" {
		t.Errorf("while Python creates: %+v", got)
	}
	if got := quietly(t, append([]string{"locks", "locked"}, ours...)...); !strings.HasSuffix(got, "  python  locked\n") {
		t.Errorf("while Python creates: %q", got)
	}
	io.WriteString(stdin, "\n")
	stdin.Close()
	ok(t, creates.Wait())
	if got := quietly(t, append([]string{"get", "locked"}, ours...)...); got != `"made"` {
		t.Errorf("Python has made %s", got)
	}
}

func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return string(p) == string(q)
}
