package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestMain lets the test binary be what it starts of itself.
func TestMain(m *testing.M) {
	if os.Getenv(roleEnv) != "" || os.Getenv(fileEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// redisSetting returns the setting of a server for this test.
func redisSetting(t *testing.T) setting {
	t.Helper()
	s, err := startRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return setting{Addr: s.addr, Lease: lease}
}

func TestEveryClientReturnsTheRightValue(t *testing.T) {
	t.Parallel()
	s := redisSetting(t)
	for _, c := range redisClients {
		if c.open == nil {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			s := s
			var creations atomic.Int64
			s.create = func(_ context.Context, key string) (string, error) {
				creations.Add(1)
				return sharedValue(key), nil
			}
			for range 2 { // the second time from what the first one stored
				opened, err := c.open(s)
				if err != nil {
					t.Fatal(err)
				}
				for i := range 10 {
					if _, err := opened.call(fmt.Sprint(c.name, i)); err != nil {
						t.Error(err)
					}
				}
				opened.close()
			}
			if n := creations.Load(); n != 10 {
				t.Errorf("%d creations of 10 keys", n)
			}
		})
	}
}

func TestRunnersHit(t *testing.T) {
	t.Parallel()
	s := redisSetting(t)
	for _, c := range []client{dogpileOnRedis, gocacheOnRedis, pythonOnRedis} {
		t.Run(c.name, func(t *testing.T) {
			r, err := openRunner(c, s)
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			calls, err := r.run(3, 20*time.Millisecond) // fails on a miss
			if err != nil || len(calls) < 3 {
				t.Errorf("%d calls, %v; want some of each of 3 goroutines", len(calls), err)
			}
		})
	}
}

func TestStampedeOfProcesses(t *testing.T) {
	t.Parallel()
	s := redisSetting(t)
	for _, row := range []struct {
		client
		most int // creations
	}{
		{dogpileOnRedis, 1}, {aside, 1}, {lockByHand, 1}, {pythonOnRedis, 1}, {goredisCache, 2}, {gocacheOnRedis, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			all, err := launch(2, row.client, s)
			if err != nil {
				t.Fatal(err)
			}
			defer closeAll(all)
			done, err := orderAll(all, order{Key: row.name, Goroutines: 5, Create: 50 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(done.Created); n < 1 || n > row.most {
				t.Errorf("%d creations, want at most %d", n, row.most)
			}
			if len(done.Calls) != 10 {
				t.Errorf("%d calls, want 10", len(done.Calls))
			}
			for _, c := range done.Calls {
				if c.Start == 0 || c.End < c.Start {
					t.Errorf("a call from %d to %d", c.Start, c.End)
				}
			}
		})
	}
}

func TestWake(t *testing.T) {
	t.Parallel()
	all, err := launch(3, dogpileOnRedis, redisSetting(t))
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(all)
	waited, err := wake(all, "k")
	if err != nil || len(waited) > 2 {
		t.Fatalf("%v waited, %v", waited, err)
	}
	for _, d := range waited {
		if d <= 0 {
			t.Errorf("waited for %v after the creator was done", d)
		}
	}
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	s := redisSetting(t)
	s.Lease = time.Second
	t.Run("is served", func(t *testing.T) {
		if took, err := takeover(patience, dogpileOnRedis, s, "a"); err != nil || took <= 0 || took >= patience {
			t.Errorf("%v, %v", took, err)
		}
	})
	t.Run("is not served in time", func(t *testing.T) {
		s.Lease = time.Minute
		if took, err := takeover(time.Millisecond, dogpileOnRedis, s, "b"); err != nil || took != time.Millisecond {
			t.Errorf("%v, %v; want the limit", took, err)
		}
	})
	t.Run("does not wait", func(t *testing.T) {
		if _, err := takeover(patience, goredisCache, s, "c"); err == nil || !strings.Contains(err.Error(), "did not wait") {
			t.Errorf("got %v, want an error that says so", err)
		}
	})
}

func TestServerFailures(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, program, want string
	}{
		{"not installed", "no-such-server", "apt-get install its-package"},
		{"ends at once", "false", "has ended"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, err := startServer(row.program, "its-package", func(_, _ string) []string { return nil })
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), row.program) {
				t.Errorf("got %v, want an error that names the program and says %q", err, row.want)
			}
		})
	}
}

func TestWorkerFailures(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, role, want string }{
		{"no JSON", "{", "JSON"},
		{"unknown client", `{"Client": "nobody"}`, `no client "nobody"`},
		{"no server", `{"Client": "dogpile GetOrCreate", "Addr": "127.0.0.1:1"}`, "refused"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			var n news
			if err := work(row.role, strings.NewReader(""), &out); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(out.Bytes(), &n); err != nil || !strings.Contains(n.Err, row.want) {
				t.Errorf("told %s, want an error that says %q", &out, row.want)
			}
		})
	}
}

func TestWrongValueIsNoticed(t *testing.T) {
	t.Parallel()
	liar := &conn{get: func(context.Context, string) (string, error) { return sharedValue("another"), nil }}
	if _, err := liar.call("k"); err == nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("call = %v, want an error that shows the value", err)
	}
	if _, err := liar.share([]stored{{"k", sharedValue("k")}}, 2, 1, time.Now().Add(time.Hour).UnixNano()); err == nil {
		t.Error("share = nil, want an error")
	}
}

func TestLapOf(t *testing.T) {
	t.Parallel()
	got := lapOf([]span{{1000, 5000}, {3000, 9000}, {8000, 10000}})
	if want := (lap{perCall: 3, p50: 4, p99: 6}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestHitRow(t *testing.T) {
	t.Parallel()
	first := []lap{{perCall: 1}, {perCall: 30}, {perCall: 3}}
	laps := []lap{{2, 10, 20, 1, .5}, {60, 11, 21, 2, .5}, {3, 90, 22, 3, .5}}
	want := []string{"name", "3.0", "11", "21", "2.0", "0.5", "0.50", "1.00"}
	if got := hitRow("name", laps, first, laps); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
