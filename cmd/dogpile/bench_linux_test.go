package main_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// short is a load that ends soon.
var short = []string{"bench", "--requests", "500", "--duration", "1m", "--keys", "50", "--size", "100"}

func TestBench(t *testing.T) {
	t.Parallel()
	urls := backends(t)
	urls["memory"] = "memory"
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := object(t, quietly(t, with(short, "--json", "--writes", "0.5", "--backend", url)...))
			want := []string{"backend", "concurrency", "errors", "interrupted", "keys", "ops", "per_second", "requests", "seconds", "value_bytes", "writes"}
			if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, want) {
				t.Errorf("fields %q, want %q", have, want)
			}
			if got["backend"] != name || got["requests"] != 500. || got["errors"] != 0. || got["interrupted"] != false || got["value_bytes"] != 100. {
				t.Errorf("%v", got)
			}
			all := 0.
			for _, op := range []string{"get", "set"} {
				o := got["ops"].(map[string]any)[op].(map[string]any)
				var before float64
				for _, name := range []string{"min_us", "p50_us", "p99_us", "p999_us", "max_us"} {
					if o[name].(float64) < before || o[name].(float64) <= 0 {
						t.Errorf("%s: %v", op, o)
					}
					before = o[name].(float64)
				}
				n := 0.
				for _, bar := range o["histogram"].([]any) {
					n += bar.(map[string]any)["requests"].(float64)
				}
				if n != o["requests"] || n < 100 {
					t.Errorf("%s: the histogram has %v of %v", op, n, o["requests"])
				}
				all += n
			}
			if all != 500 {
				t.Errorf("%v calls", all)
			}
		})
	}
}

func TestBenchForPeople(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ok(t, s.client.Do(t.Context(), s.client.B().Set().Key("mine").Value("1").Build()).Error())
	got := quietly(t, with(short, "--backend", s.url)...)
	for _, want := range []string{"500 calls in ", " over redis: 8 at once, 50 keys, values of 100 bytes\n", "p99.9", "get: how many calls took up to …\n", "█"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if keys := s.keys(t); !slices.Equal(keys, []string{"mine"}) {
		t.Errorf("left: %q", keys)
	}
}

func TestBenchEndsAfterItsTime(t *testing.T) {
	t.Parallel()
	got := object(t, quietly(t, "bench", "--backend", "memory", "--json", "--duration", "50ms", "--requests", "1000000000"))
	if s := got["seconds"].(float64); s < .05 || s > 20 {
		t.Errorf("%v s", s)
	}
}

// inTheMiddle runs a load of ten minutes, and returns when some of its keys are there.
func inTheMiddle(t *testing.T, s *server) (wait func() ran, signal func(os.Signal)) {
	t.Helper()
	cmd := in(t, t.TempDir(), "bench", "--backend", s.url, "--duration", "10m", "--requests", "1000000000", "--json", "--timeout", "3s")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	ok(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	eventually(t, "the keys of the load", func() bool { return len(s.keys(t)) >= 1000 })
	for _, key := range s.keys(t) {
		if !strings.HasPrefix(key, "dogpile-bench:") {
			t.Errorf("key %q", key)
		}
	}
	return func() ran {
		cmd.Wait()
		return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	}, func(sig os.Signal) { ok(t, cmd.Process.Signal(sig)) }
}

// TestInterruptOfBench: it removes its keys, and tells what it has measured.
func TestInterruptOfBench(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := startRedis(t)
			wait, signal := inTheMiddle(t, s)
			signal(sig)
			got := wait()
			if got.code != 130 || got.stderr != "dogpile: interrupted\n" {
				t.Errorf("%+v", got)
			}
			if fields := object(t, got.stdout); fields["interrupted"] != true || fields["errors"] != 0. {
				t.Errorf("%v", fields)
			}
			if keys := s.keys(t); len(keys) != 0 {
				t.Errorf("left: %d keys, as %q", len(keys), keys[0])
			}
		})
	}
}

// TestServerDiesDuringBench: it ends soon, and says that keys may be left.
func TestServerDiesDuringBench(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	wait, _ := inTheMiddle(t, s)
	ok(t, s.process.Kill())
	got := wait()
	if got.code != 1 || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "keys that begin with dogpile-bench: may be left for up to 10m3s: ") || strings.Contains(got.stderr, "hunter2") {
		t.Errorf("%+v", got)
	}
	if fields := object(t, got.stdout); fields["errors"].(float64) < 1 || fields["error"] == nil || fields["interrupted"] != false {
		t.Errorf("%v", fields)
	}
}

// TestBenchOverAServerThatForgets fails: what it measures is no cache.
func TestBenchOverAServerThatForgets(t *testing.T) {
	t.Parallel()
	m := backendtest.StartMemcached(t, "-m", "4") // has room for some of it
	got := tool(t, "bench", "--backend", "memcached://"+m.Addr()+"?"+patient, "--requests", "2000", "--keys", "2000", "--size", "100KiB", "--duration", "1m", "--writes", "0", "--timeout", "30s")
	if got.code != 1 || !strings.Contains(got.stderr, "calls have failed, the first with: ") {
		t.Errorf("%+v", got)
	}
}
