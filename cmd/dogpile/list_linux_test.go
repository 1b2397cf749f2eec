package main_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// lists are the backends that can list what they have.
func lists(t *testing.T) map[string]string {
	urls := backends(t)
	delete(urls, "memcached")
	return urls
}

func TestLs(t *testing.T) {
	t.Parallel()
	for name, url := range lists(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := []string{"ls", "--backend", url, "--region", "users"}
			if got := tool(t, target...); got != (ran{3, "", "dogpile: there is no such key\n"}) {
				t.Errorf("empty: %+v", got)
			}
			if got := tool(t, with(target, "--json")...); got != (ran{3, "", ""}) {
				t.Errorf("empty, for a program: %+v", got)
			}
			cache := dogpile.NewCache[string](regionAt(t, url, "users", nil), nil)
			entries := map[string]string{"\xff\x1b[2J": "v"}
			for i := range 1200 {
				entries[fmt.Sprintf("user:%d", i)] = "v"
			}
			ok(t, cache.SetMulti(t.Context(), entries))
			ok(t, dogpile.NewCache[string](regionAt(t, url, "other", nil), nil).Set(t.Context(), "k", "v"))

			lines := slices.Collect(strings.Lines(quietly(t, target...)))
			if len(lines) != 1202 || lines[0] != "        size  dropped in  key\n" {
				t.Errorf("%d lines, the first is %q", len(lines), lines[0])
			}
			if all := strings.Join(lines, ""); !strings.Contains(all, `  "\xff\x1b[2J"`+"\n") || !strings.Contains(all, "  user:1199\n") || strings.Contains(all, "\x1b") {
				t.Errorf("%.500s", all)
			}
			lines = slices.Collect(strings.Lines(quietly(t, with(target, "user:119", "--json")...)))
			if len(lines) != 11 {
				t.Errorf("%d lines of keys that begin with user:119", len(lines))
			}
			fields := object(t, lines[0])
			if have := slices.Sorted(maps.Keys(fields)); !slices.Equal(have, []string{"key", "size", "ttl_s"}) || fields["size"].(float64) < 10 || fields["ttl_s"].(float64) < 7000 {
				t.Errorf("%v", fields)
			}
			if got := quietly(t, with(target, "--limit", "3", "--json")...); strings.Count(got, "\n") != 3 {
				t.Errorf("of three: %q", got)
			}
			if got := quietly(t, "ls", "--backend", url); !strings.Contains(got, "  users:user:7\n") || !strings.Contains(got, "  other:k\n") {
				t.Errorf("all of the backend: %.500s", got)
			}
			oneLine(t, tool(t, with(target, "--limit=-1")...), 2, "--limit is -1")
			oneLine(t, tool(t, with(target, "a", "b")...), 2, "at most one PREFIX")
		})
	}
	t.Run("memcached", func(t *testing.T) {
		t.Parallel()
		url := "memcached://" + backendtest.StartMemcached(t).Addr() + "?" + patient
		oneLine(t, tool(t, "ls", "--backend", url, "--region", "users"), 2, "a backend of kind memcached cannot list what it has")
		oneLine(t, tool(t, "locks", "--backend", url, "--region", "users"), 2, "a backend of kind memcached cannot list its leases; name the KEYs to look at")
	})
}

// TestLocks shows who creates: this process, on this host, for a moment.
func TestLocks(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	ok(t, err)
	for name, url := range backends(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := []string{"locks", "--backend", url, "--region", "users"}
			if name == "memcached" {
				target = with(target, "k", "free")
			}
			if got := tool(t, target...); got != (ran{3, "", "dogpile: nobody holds a lease\n"}) {
				t.Errorf("%+v", got)
			}
			if got := tool(t, with(target, "--json")...); got != (ran{3, "", ""}) {
				t.Errorf("%+v", got)
			}
			cache := dogpile.NewCache[string](regionAt(t, url, "users", nil), nil)
			ok(t, cache.Set(t.Context(), "free", "v"))
			_, err := cache.GetOrCreate(t.Context(), "k", func(context.Context) (string, error) {
				heldHere(t, target, host)
				got := object(t, tool(t, "peek", "--backend", url, "--region", "users", "--json", "k").stdout)
				if h := got["holder"].(map[string]any); h["pid"] != float64(os.Getpid()) || h["host"] != host || got["creating"] != true {
					t.Errorf("peek: %v", got)
				}
				if got := tool(t, "peek", "--backend", url, "--region", "users", "k"); !strings.Contains(got.stdout, fmt.Sprintf(", by process %d on %q\n", os.Getpid(), host)) {
					t.Errorf("peek: %+v", got)
				}
				return "v", nil
			})
			ok(t, err)
		})
	}
}

func heldHere(t *testing.T, target []string, host string) {
	t.Helper()
	fields := object(t, quietly(t, with(target, "--json")...))
	since, err := time.Parse(time.RFC3339Nano, fields["since"].(string))
	if err != nil || fields["key"] != "k" || fields["host"] != host || fields["pid"] != float64(os.Getpid()) || fields["program"] != nil || time.Since(since) > time.Hour || fields["age_s"] == nil {
		t.Errorf("%v, %v", fields, err)
	}
	lines := strings.Split(quietly(t, target...), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "for ") || !strings.HasSuffix(lines[1], fmt.Sprintf("process %d on %q  k", os.Getpid(), host)) {
		t.Errorf("%q", lines)
	}
}

// TestServerDiesDuringLs: what was listed stays, and the exit code says that it is not all.
func TestServerDiesDuringLs(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	entries := map[string]string{}
	for i := range 20_000 { // as JSON more than a pipe takes
		entries[fmt.Sprintf("key:%d", i)] = "v"
	}
	ok(t, dogpile.NewCache[string](regionAt(t, s.url, "users", nil), nil).SetMulti(t.Context(), entries))
	cmd := in(t, t.TempDir(), "ls", "--backend", strings.Replace(s.url, "20s", "2s", 2), "--region", "users", "--json")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	lines := bufio.NewReader(stdout)
	_, err = lines.ReadString('\n')
	ok(t, err)
	ok(t, s.process.Kill())
	io.Copy(io.Discard, lines)
	cmd.Wait()
	oneLine(t, ran{cmd.ProcessState.ExitCode(), "", stderr.String()}, 1, `scan region "users": `)
}
