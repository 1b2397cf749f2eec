package main_test

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// working is a process, by its metrics, whose caches of these regions are asked for more and more:
// the first least.
func working(t *testing.T, regions ...string) (url string) {
	t.Helper()
	var looks atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := looks.Add(1)
		fmt.Fprintln(w, "# TYPE dogpile_requests_total counter")
		for i, region := range regions {
			label := strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(region)
			fmt.Fprintf(w, "dogpile_requests_total{region=\"%s\",name=\"get\",result=\"hit\"} %d\n", label, n*int64(i+1)*30)
			fmt.Fprintf(w, "dogpile_requests_total{region=\"%s\",name=\"get\",result=\"miss\"} %d\n", label, n*int64(i+1)*10)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// lines starts the command, whose standard output can be read line by line.
func lines(t *testing.T, args ...string) (*exec.Cmd, func() string) {
	t.Helper()
	cmd := in(t, t.TempDir(), args...)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	cmd.Stderr = os.Stderr
	ok(t, cmd.Start())
	read := bufio.NewReader(out)
	return cmd, func() string {
		line, err := read.ReadString('\n')
		if err != nil {
			t.Fatalf("%q has ended: %v", args, err)
		}
		return line
	}
}

func TestTopForPrograms(t *testing.T) {
	t.Parallel()
	got := object(t, quietly(t, "top", "--once", "--json", "--interval", "200ms", "--metrics", working(t, "a", "b"), "--metrics", working(t, "b")))
	caches := got["caches"].([]any)
	if len(caches) != 2 || len(got["processes"].([]any)) != 2 {
		t.Fatalf("%v", got)
	}
	a, b := caches[0].(map[string]any), caches[1].(map[string]any)
	want := []string{"creations_per_s", "failures_per_s", "hits_per_s", "misses_per_s", "name", "region", "requests_per_s", "stale_per_s"}
	if have := slices.Sorted(maps.Keys(a)); !slices.Equal(have, want) {
		t.Errorf("fields %q", have)
	}
	// One process asks twice as often for b as for a, and the other for b alone; how often depends on
	// when it is looked at.
	ratio := b["requests_per_s"].(float64) / a["requests_per_s"].(float64)
	if a["region"] != "a" || b["region"] != "b" || ratio < 2.001 || a["hits_per_s"].(float64) < 2.9*a["misses_per_s"].(float64) {
		t.Errorf("%v %v", a, b)
	}
}

func TestTopForPeople(t *testing.T) {
	t.Parallel()
	down := httptest.NewServer(nil)
	down.Close()
	got := quietly(t, "top", "--once", "--interval", "200ms", "--metrics", working(t, "users", "orders", "\x1b]0;x\x07\n"), "--metrics", down.URL)
	text := strings.Split(got, "\n")
	// The region that is asked for most comes first.
	if len(text) != 8 || text[1] != "1 of 2 processes answer" || !strings.HasPrefix(text[2], strings.TrimPrefix(down.URL, "http://")+"/metrics has not answered for ") ||
		!strings.HasPrefix(text[3], "region") || !strings.HasPrefix(text[4], `"\x1b]0;x\a\n"  get `) || !strings.HasPrefix(text[5], "orders ") || !strings.HasPrefix(text[6], "users ") {
		t.Errorf("got\n%s", got)
	}
	if !strings.Contains(text[3], "req/s↓") || !strings.Contains(text[4], " 75% ") || strings.ContainsAny(got, "\x1b\a") {
		t.Errorf("got\n%s", got)
	}
}

func TestTopWhereNothingAnswers(t *testing.T) {
	t.Parallel()
	got := tool(t, "top", "--once", "--interval", "200ms", "--metrics", "u:hunter2@127.0.0.1:1", "--timeout", "20s")
	if got.code != 1 || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "127.0.0.1:1/metrics: ") || !strings.Contains(got.stdout, "0 of 1 processes answer") {
		t.Errorf("%+v", got)
	}
}

func TestBadFlagsOfViews(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, want string
		args       []string
	}{
		{"top of nothing", "--metrics URL says which process", []string{"top"}},
		{"a password in the path of metrics", "--metrics: there is an @ in its path", []string{"top", "--once", "--metrics", "http:/u:hunter2@h/0"}},
		{"top of no metrics", "--metrics: ", []string{"top", "--metrics", "redis://u:hunter2@h"}},
		{"top of two backends", "--config and --backend", []string{"top", "--config", "x.toml", "--backend", "null"}},
		{"an argument of top", "takes no arguments", []string{"top", "x"}},
		{"too often", "--interval is 1ms, not from 200ms", []string{"top", "--backend", "null", "--interval", "1ms"}},
		{"no key", "a KEY is wanted", []string{"watch", "--backend", "null"}},
		{"watch of nothing", "--config FILE or --backend URL", []string{"watch", "k"}},
		{"a backend of this process", "each process has a backend of its own", []string{"watch", "k", "--backend", "memory"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			oneLine(t, tool(t, row.args...), 2, row.want)
		})
	}
}

// TestTopOfServers: real ones, and what they tell.
func TestTopOfServers(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"redis":     {"clients", "evictions_per_s", "ops_per_s", "round_trip_s", "server", "used_bytes"},
		"memcached": {"clients", "evictions_per_s", "max_bytes", "ops_per_s", "round_trip_s", "server", "used_bytes"},
		"file":      {"round_trip_s", "server"},
	}
	for name, url := range backends(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers := object(t, quietly(t, "top", "--once", "--json", "--interval", "200ms", "--backend", url))["servers"].([]any)
			if len(servers) != 1 {
				t.Fatalf("%v", servers)
			}
			s := servers[0].(map[string]any)
			delete(s, "hit_ratio") // only if somebody has asked for a key
			if have := slices.Sorted(maps.Keys(s)); !slices.Equal(have, want[name]) {
				t.Errorf("fields %q, want %q: %v", have, want[name], s)
			}
			if name == "redis" && (s["ops_per_s"].(float64) <= 0 || s["used_bytes"].(float64) < 1e5 || !strings.Contains(url, s["server"].(string))) {
				t.Errorf("%v", s)
			}
			if text := quietly(t, "top", "--once", "--interval", "200ms", "--backend", url); !strings.Contains(text, "server") || !strings.Contains(text, s["server"].(string)) {
				t.Errorf("for people:\n%s", text)
			}
		})
	}
}

// TestTopOfServersOfWhichOneHangs: that one alone does not answer, and none has its round trip.
func TestTopOfServersOfWhichOneHangs(t *testing.T) {
	t.Parallel()
	servers := []*backendtest.Memcached{backendtest.StartMemcached(t), backendtest.StartMemcached(t), backendtest.StartMemcached(t)}
	url := "memcached://" + servers[0].Addr() + "," + servers[1].Addr() + "," + servers[2].Addr() + "?connect_timeout=20s"
	servers[0].Stop(t)
	t.Cleanup(func() { servers[0].Resume(t) })
	got := tool(t, "top", "--once", "--json", "--interval", "200ms", "--timeout", "5s", "--backend", url)
	for i, s := range object(t, got.stdout)["servers"].([]any) {
		s := s.(map[string]any)
		said, _ := s["error"].(string)
		took, _ := s["round_trip_s"].(float64)
		if hangs := i == 0; got.code != 0 || s["server"] != servers[i].Addr() || hangs != (said == "there was none within 5s") || hangs != (took == 0) || took >= 5 {
			t.Errorf("%v", s)
		}
	}
}

// statistics is a memcached that tells one of these texts after the other, and the last one from then on.
func statistics(t *testing.T, texts ...string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(conn)
			in.ReadString('\n')
			fmt.Fprint(conn, "MN\r\n")
			in.ReadString('\n')
			fmt.Fprint(conn, strings.ReplaceAll(texts[min(n, len(texts)-1)], "\n", "\r\n")+"END\r\n")
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// TestTopOfAServerThatIsBusyAfterARestart: one count that has fallen tells of it, though others are
// higher than before.
func TestTopOfAServerThatIsBusyAfterARestart(t *testing.T) {
	t.Parallel()
	addr := statistics(t, "STAT get_hits 500\nSTAT get_misses 500\nSTAT evictions 0\n", "STAT get_hits 900\nSTAT get_misses 100\nSTAT evictions 0\n")
	s := object(t, quietly(t, "top", "--once", "--json", "--interval", "200ms", "--backend", "memcached://"+addr+"?"+patient))["servers"].([]any)[0].(map[string]any)
	if s["hit_ratio"] != .9 {
		t.Errorf("%v", s)
	}
}

// TestTopOfAServerThatGoesAndComes says so, and goes on.
func TestTopOfAServerThatGoesAndComes(t *testing.T) {
	t.Parallel()
	server, url := backendtest.StartRedis(t)
	_, next := lines(t, "top", "--json", "--interval", "200ms", "--backend", url, "--timeout", "2s")
	until := func(what string, cond func(server map[string]any) bool) {
		t.Helper()
		for range 500 {
			s := object(t, next())["servers"].([]any)[0].(map[string]any)
			if n, told := s["ops_per_s"].(float64); told && n < 0 {
				t.Errorf("%v operations a second", n) // the server counts from 0 again
			}
			if cond(s) {
				return
			}
		}
		t.Fatalf("it never tells %s", what)
	}
	until("that it answers", func(s map[string]any) bool { return s["ops_per_s"] != nil })
	server.Kill()
	until("since when it does not answer", func(s map[string]any) bool {
		return s["error"] != nil && s["failing_s"].(float64) > 1 && s["round_trip_s"] == nil
	})
	server.Start(t)
	answers := func(s map[string]any) bool { return s["error"] == nil && s["ops_per_s"] != nil }
	until("that it answers again", answers)
	// The time without an answer is that of this time.
	killed := time.Now()
	server.Kill()
	until("that it does not answer again", func(s map[string]any) bool { return s["error"] != nil })
	if line := object(t, next())["servers"].([]any)[0].(map[string]any); line["failing_s"].(float64) > time.Since(killed).Seconds()+.5 {
		t.Errorf("%v of %v", line, time.Since(killed))
	}
}

// TestTopInATerminal: the keys, and a terminal that becomes narrow.
func TestTopInATerminal(t *testing.T) {
	t.Parallel()
	s, cmd := before(t, t.TempDir(), 120, "top", "--interval", "200ms", "--metrics", working(t, "users", "orders", "\x1b]0;pwned\x07"))
	seen(t, s, "req/s↓")
	gone := func(what string) {
		t.Helper()
		eventually(t, "no "+what, func() bool { return !strings.Contains(s.Text(), what) })
	}
	if text := s.Text(); !strings.Contains(text, `"\x1b]0;pwned\a"`) || strings.Contains(s.Written(), "\x1b]0;pwned") || strings.Index(text, "orders") > strings.Index(text, "users") {
		t.Errorf("the screen is\n%s", text)
	}
	ok(t, s.Type("?"))
	seen(t, s, "goes back")
	ok(t, s.Type("x"))
	seen(t, s, "req/s↓")
	ok(t, s.Type("r"))
	seen(t, s, "req/s↑")
	eventually(t, "the other order", func() bool { return strings.Index(s.Text(), "orders") > strings.Index(s.Text(), "users") })
	ok(t, s.Type("s"))
	seen(t, s, "hit↑")
	ok(t, s.Type("/ORD"))
	seen(t, s, "/ORD▏")
	gone("users")
	ok(t, s.Type("\x7fX\r"))
	seen(t, s, "only /ORX")
	gone("orders")
	ok(t, s.Type("\x1b"))
	seen(t, s, "users")
	ok(t, s.Type(" "))
	seen(t, s, "stands still")
	ok(t, s.Resize(40, 12))
	seen(t, s, "stands still: space")
	for _, line := range strings.Split(s.Text(), "\n") {
		if len([]rune(line)) > 40 {
			t.Errorf("%q is longer than 40", line)
		}
	}
	for _, want := range []string{"users", "orders", "1 of 1 processes answer"} {
		seen(t, s, want)
	}
	ok(t, s.Type(" q"))
	over(t, s, cmd, 0)
}

// TestLeavingAView restores the terminal, however it is left.
func TestLeavingAView(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(interrupt func(string) error, cmd *exec.Cmd) error{
		"Ctrl-C":  func(press func(string) error, _ *exec.Cmd) error { return press("\x03") },
		"SIGTERM": func(_ func(string) error, cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGTERM) },
		"SIGINT":  func(_ func(string) error, cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGINT) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, cmd := before(t, t.TempDir(), 80, "top", "--interval", "200ms", "--metrics", working(t, "users"))
			seen(t, s, "users")
			ok(t, leave(s.Type, cmd))
			over(t, s, cmd, 130)
			if text := s.Text(); text != "dogpile: interrupted" && text != "^Cdogpile: interrupted" {
				t.Errorf("the screen is\n%s", text)
			}
		})
	}
}

// TestColours: what is wrong is red, unless NO_COLOR is set.
func TestColours(t *testing.T) {
	t.Parallel()
	for _, want := range []bool{true, false} {
		cmd := in(t, t.TempDir(), "top", "--interval", "200ms", "--metrics", "127.0.0.1:1")
		cmd.Env = append(cmd.Env, "TERM=xterm-256color", "NO_COLOR="+map[bool]string{true: "", false: "1"}[want])
		s := on(t, 80, cmd)
		seen(t, s, "has not answered")
		ok(t, s.Type("q"))
		over(t, s, cmd, 0)
		if strings.Contains(s.Written(), "\x1b[31m") != want {
			t.Errorf("red is not %v: %q", want, s.Written())
		}
	}
}

// TestViewsOfNoTerminal write no escape codes, one look after the other, until they are interrupted.
func TestViewsOfNoTerminal(t *testing.T) {
	t.Parallel()
	url := fileURL(t)
	for _, args := range [][]string{
		{"top", "--metrics", working(t, "users\x1b[31m")}, {"top", "--backend", url}, {"watch", "--backend", url, "\x1b[31mred"},
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			t.Parallel()
			cmd, next := lines(t, append(args, "--interval", "200ms")...)
			var text strings.Builder
			for blank := 0; blank < 2; {
				line := next()
				text.WriteString(line)
				if line == "\n" {
					blank++
				}
			}
			if strings.ContainsAny(text.String(), "\x1b\r") {
				t.Errorf("escape codes: %q", text.String())
			}
			ok(t, cmd.Process.Signal(os.Interrupt))
			cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 130 {
				t.Errorf("exit %d", code)
			}
		})
	}
}
