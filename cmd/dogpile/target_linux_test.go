package main_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/config"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// oneLine fails the test unless the command has exited with that code and written one line on
// stderr, with want in it, and nothing on stdout.
func oneLine(t *testing.T, got ran, code int, want string) {
	t.Helper()
	if got.code != code || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 || !strings.HasPrefix(got.stderr, "dogpile: ") || !strings.Contains(got.stderr, want) {
		t.Errorf("%+v, want exit %d and a line with %q", got, code, want)
	}
}

// TestBadFlagsOfTargets: the line names the flag.
func TestBadFlagsOfTargets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	several := write(t, dir, "several.toml", "[cache.a]\nbackend='null'\n[cache.b]\nbackend='null'\n[cache.backends]\nx='null'\n")
	faulty := write(t, dir, "faulty.toml", "[cache.a]\nbackend='redis://u:hunter2@h'\njitter=2\nproxies='mine'\n")
	local := write(t, dir, "local.toml", "[cache.a]\nbackend='file'\narguments.path='"+filepath.Join(dir, "x.db")+"'\ninvalidator='local'\n")
	rows := []struct {
		name, want string
		code       int
		args       []string
	}{
		{"no target", "--config FILE or --backend URL", 2, []string{"get", "k"}},
		{"two targets", "--config and --backend", 2, []string{"get", "k", "--config", several, "--backend", "null"}},
		{"no key", "one KEY is wanted", 2, []string{"get", "--backend", "null"}},
		{"no key to delete", "a KEY is wanted", 2, []string{"rm", "--backend", "null"}},
		{"an argument where none is", "takes no arguments", 2, []string{"invalidate", "redis://u:hunter2@h"}},
		{"a password in the wrong place", `unknown command "…"`, 2, []string{"redis://u:hunter2@h/0"}},
		{"a password with a space", `unknown command "…"`, 2, []string{"redis://u:hunter2 x@h"}},
		{"a password with a quote", `unknown command "…"`, 2, []string{`redis://u:hunter2"\x@h`}},
		{"a password after one slash", `unknown command "…"`, 2, []string{"redis:/u:hunter2@h"}},
		{"a password without a scheme", `unknown command "…"`, 2, []string{"u:hunter2@h/0"}},
		{"a password by a wrong name", `unknown command "…"`, 2, []string{"redis://h?passwort=hunter2"}},
		{"a password for help", `unknown command "…"`, 2, []string{"help", "u:hunter2@h/0"}},
		{"a password for a command without arguments", `unknown command "…"`, 2, []string{"version", "u:hunter2@h/0"}},
		{"a password for completion", `unknown command "…"`, 2, []string{"completion", "bash", "u:hunter2@h/0"}},
		{"a password as a flag", "unknown flag: …", 2, []string{"get", "--u:hunter2@h/0"}},
		{"a password as a flag with a value", "unknown flag: --…", 2, []string{"get", "--u:hunter2@h/0=1"}},
		{"a password as short flags", "unknown shorthand flag: 'u' in …", 2, []string{"get", "-u:hunter2@h/0"}},
		{"a password as a duration", `invalid argument "…" for "--timeout" flag`, 2, []string{"get", "k", "--timeout", "u:hunter2@h/0"}},
		{"a password as another one", `invalid argument "…" for "--timeout" flag`, 2, []string{"get", "k", "--timeout=u:hunter2@h/0"}},
		{"a command that there is not", `unknown command "nosuch"`, 2, []string{"nosuch"}},
		{"a prefix of keys with settings", "--prefix goes with --backend", 2, []string{"get", "k", "--config", several, "--prefix", "x"}},
		{"an empty prefix", "--prefix is empty", 2, []string{"get", "k", "--backend", "null", "--prefix="}},
		{"a reserved prefix", `--prefix: `, 2, []string{"get", "k", "--backend", fileURL(t), "--prefix", "_lock"}},
		{"settings' prefix with a URL", "--settings-prefix goes with --config", 2, []string{"get", "k", "--backend", "null", "--settings-prefix", "x"}},
		{"the environment with a URL", "--env goes with --config", 2, []string{"get", "k", "--backend", "null", "--env", "X_"}},
		{"no time", "--timeout is 0s", 2, []string{"get", "k", "--backend", "null", "--timeout", "0"}},
		{"no region of several", "--region says which of the regions", 2, []string{"get", "k", "--config", several}},
		{"unknown region", `--region is "c", which`, 2, []string{"get", "k", "--config", several, "--region", "c"}},
		{"another prefix of settings", "--settings-prefix says", 1, []string{"get", "k", "--config", several, "--settings-prefix", "app."}},
		{"no such file", "absent.toml", 1, []string{"get", "k", "--config", "absent.toml"}},
		{"settings at fault", "cache.a.jitter: 2 is not from 0 to less than 1; cache.a.proxies: unknown proxy", 1, []string{"get", "k", "--config", faulty}},
		{"unknown backend", `--backend: unknown backend "nosuch"`, 2, []string{"get", "k", "--backend", "nosuch://u:hunter2@h"}},
		{"unknown argument", `argument "tiemout" is unknown`, 2, []string{"peek", "k", "--backend", "redis://u:hunter2@h?tiemout=hunter2"}},
		{"a backend of each process", "each process has a backend of its own", 2, []string{"get", "k", "--backend", "memory"}},
		{"a backend that keeps nothing", "keeps nothing", 2, []string{"rm", "k", "--config", several, "--region", "a"}},
		{"no region to invalidate", "--region says which region", 2, []string{"invalidate", "--backend", fileURL(t)}},
		{"an invalidation that reaches nobody", "--region: ", 2, []string{"invalidate", "--config", local}},
		{"an empty tag", "--tag is empty", 2, []string{"invalidate", "--backend", fileURL(t), "--tag="}},
		{"a tag scope with settings", "--tag-scope goes with --backend", 2, []string{"invalidate", "--config", several, "--region", "a", "--tag-scope", "x", "--tag", "y"}},
		{"nothing to measure", "--requests is 0", 2, []string{"bench", "--backend", "memory", "--requests=0"}},
		{"size", "--size is many", 2, []string{"bench", "--backend", "memory", "--size=many"}},
		{"too much", "--keys and --size make", 2, []string{"bench", "--backend", "memory", "--size=1MiB", "--keys=10000"}},
		{"writes", "--writes is 2", 2, []string{"bench", "--backend", "memory", "--writes=2"}},
		{"time", "--duration is 0s", 2, []string{"bench", "--backend", "memory", "--duration=0s"}},
		{"larger than the backend takes", "--size is 40MiB, more than the 33554432 bytes", 2, []string{"bench", "--backend", fileURL(t), "--size=40MiB", "--keys=1"}},
		{"unknown format", "--from is xml", 2, []string{"migrate", "--from=xml", faulty}},
		{"name of a region", "--region: ", 2, []string{"migrate", "--region=", faulty}},
		{"no file", "one FILE is wanted", 2, []string{"migrate"}},
		{"no such file to migrate", "absent.ini", 1, []string{"migrate", "absent.ini"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			oneLine(t, tool(t, row.args...), row.code, row.want)
		})
	}
}

// TestAServerThatIsDown is told of in one line, within the timeout.
func TestAServerThatIsDown(t *testing.T) {
	t.Parallel()
	hangs, err := net.Listen("tcp", "127.0.0.1:0") // and answers nothing
	ok(t, err)
	t.Cleanup(func() { hangs.Close() })
	for name, url := range map[string]string{
		"Redis that is not there": "redis://:hunter2@127.0.0.1:1/0", "memcached that is not there": "memcached://127.0.0.1:1",
		"Redis that hangs": "redis://:hunter2@" + hangs.Addr().String(), "memcached that hangs": "memcached://" + hangs.Addr().String(),
		"a file in no directory": "file:///nonexistent/x.db",
	} {
		for _, args := range [][]string{{"get", "k"}, {"peek", "k"}, {"rm", "k"}, {"invalidate", "--region", "r"}, {"bench"}} {
			t.Run(name+", "+args[0], func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				got := tool(t, append(args, "--backend", url, "--timeout", "2s")...)
				code := 1
				if name == "a file in no directory" {
					code = 2 // --backend is at fault
				}
				oneLine(t, got, code, "")
				if took := time.Since(began); took > time.Minute {
					t.Errorf("it took %v", took)
				}
			})
		}
	}
}

// TestWhoseTimeHasEnded: a backend may give a call less time than --timeout, which is not told of then.
func TestWhoseTimeHasEnded(t *testing.T) {
	t.Parallel()
	hangs, err := net.Listen("tcp", "127.0.0.1:0") // and answers nothing
	ok(t, err)
	t.Cleanup(func() { hangs.Close() })
	for _, scheme := range []string{"redis", "memcached"} {
		short, long := scheme+"://"+hangs.Addr().String()+"?timeout=200ms&connect_timeout=200ms", scheme+"://"+hangs.Addr().String()+"?timeout=1m&connect_timeout=1m"
		for _, row := range []struct {
			command, option string
			args            []string
		}{
			{"get", "--timeout is 200ms", []string{"get", "k"}}, {"peek", "--timeout is 200ms", []string{"peek", "k"}},
			{"watch", "there was none within 200ms", []string{"watch", "--once", "--json", "k"}}, {"top", "there was none within 200ms", []string{"top", "--once", "--json", "--interval", "200ms"}},
		} {
			t.Run(scheme+", "+row.command, func(t *testing.T) {
				t.Parallel()
				if got := tool(t, append(row.args, "--backend", short, "--timeout", "1m")...); got.code != 1 || strings.Contains(got.stdout+got.stderr, "1m") {
					t.Errorf("the backend's: %+v", got)
				}
				if got := tool(t, append(row.args, "--backend", long, "--timeout", "200ms")...); got.code != 1 || !strings.Contains(got.stdout+got.stderr, row.option) {
					t.Errorf("the command's: %+v", got)
				}
			})
		}
	}
}

// TestInterruptOfARead ends it at once with 130.
func TestInterruptOfARead(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { l.Close() })
	cmd := in(t, t.TempDir(), "get", "k", "--timeout", "10m", "--backend", "redis://"+l.Addr().String()+"?timeout=10m&connect_timeout=10m")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	ok(t, cmd.Start())
	conn, err := l.Accept()
	ok(t, err)
	defer conn.Close()
	ok(t, cmd.Process.Signal(os.Interrupt))
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 || stderr.String() != "dogpile: interrupted\n" {
		t.Errorf("exit %d, stderr %q", code, stderr.String())
	}
}

// TestTheSettingsOfTheProgramCount: prefix, mangler, proxies, a shared backend, the environment.
func TestTheSettingsOfTheProgramCount(t *testing.T) {
	addr := backendtest.StartMemcached(t).Addr()
	file := write(t, t.TempDir(), "app.yaml", `app:
  backends: {main: "memcached://`+addr+`?`+patient+`"}
  UserCache: {backend: "@main", prefix: "v2/", mangler: sha1, proxies: compress, expiration: never, near: true, retry_deletes: 5}
`)
	t.Setenv("COUNTS_APP__USERCACHE__EXPIRATION", "1ns")
	t.Setenv("COUNTS_APP__USERCACHE__STALE_FOR", "1h")
	b, err := config.Load(file)
	ok(t, err)
	r := dogpile.NewRegion("UserCache")
	ok(t, dogpile.Setup{Settings: b, Prefix: "app."}.Configure(t.Context(), r))
	defer r.Close(t.Context())
	value := strings.Repeat("long ", 1000)
	ok(t, dogpile.NewCache[string](r, nil).Set(t.Context(), "k", value))
	if got := quietly(t, "get", "--config", file, "--settings-prefix", "app.", "k"); got != `"`+value+`"` {
		t.Errorf("got %q", got)
	}
	args := []string{"peek", "--config", file, "--settings-prefix", "app.", "--region", "usercache", "--json", "k"}
	if fields := object(t, quietly(t, args...)); fields["state"] != "fresh" {
		t.Errorf("%v", fields)
	}
	if fields := object(t, quietly(t, append(args, "--env", "COUNTS_")...)); fields["state"] != "stale" {
		t.Errorf("with what the environment says: %v", fields)
	}
}

// TestARegionWhoseNameBeginsLikeAnothers has settings of its own.
func TestARegionWhoseNameBeginsLikeAnothers(t *testing.T) {
	t.Parallel()
	file := write(t, t.TempDir(), "app.toml", "[cache.a]\nbackend = '"+fileURL(t)+"'\n[cache.a.b]\nbackend = '"+fileURL(t)+"'\nexpiration = '1h'\n")
	for _, name := range []string{"a", "a.b"} {
		if got := tool(t, "get", "k", "--config", file, "--region", name); got != (ran{3, "", "dogpile: k is not there\n"}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestCompletion: the shells' scripts, and what they ask for.
func TestCompletion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := write(t, dir, "app.toml", "[cache.users]\nbackend='null'\n[cache.orders]\nbackend='null'\n")
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := quietly(t, "completion", shell); !strings.Contains(got, "dogpile") || !strings.Contains(got, "__complete") {
			t.Errorf("%s: %q", shell, got)
		}
	}
	for _, row := range []struct{ args, want string }{
		{"get --config " + file + " --region ", "orders\nusers\n:4\n"},
		{"get --backend ", "redis+cluster://\n"},
		{"migrate --from ", "ini\njson\nenv\n:4\n"},
		{"pe", "peek\t"},
	} {
		args := append([]string{"__complete"}, strings.Split(row.args, " ")...)
		if got := execute(t, dir, args...); got.code != 0 || !strings.Contains(got.stdout, row.want) {
			t.Errorf("%s: %+v", row.args, got)
		}
	}
}

// TestExitCodesAreTold where one looks for them.
func TestExitCodesAreTold(t *testing.T) {
	t.Parallel()
	text := quietly(t, "help", "exit-codes")
	for _, code := range []string{"    0  ", "    1  ", "    2  ", "    3  ", "  130  "} {
		if !strings.Contains(text, code) {
			t.Errorf("no %q in %s", code, text)
		}
	}
}
