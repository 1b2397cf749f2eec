package main_test

import (
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// diagnosed runs doctor for programs, and returns the advice that it has by what was looked
// at, and everything that was found.
func diagnosed(t *testing.T, args ...string) (advice, values map[string]string) {
	t.Helper()
	got := tool(t, append([]string{"doctor", "--json", "--timeout", "30s"}, args...)...)
	if got.stderr != "" {
		t.Fatalf("%+v", got)
	}
	advice, values = map[string]string{}, map[string]string{}
	for line := range strings.Lines(got.stdout) {
		fields := object(t, line)
		values[fields["check"].(string)] = fields["value"].(string)
		if text, is := fields["advice"].(string); is {
			advice[fields["check"].(string)] = text
		}
	}
	if want := map[bool]int{true: 3, false: 0}[len(advice) > 0]; got.code != want {
		t.Errorf("exit %d with the advice %q", got.code, advice)
	}
	return advice, values
}

// advised fails the test unless there is advice about exactly these things.
func advised(t *testing.T, advice map[string]string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if have := slices.Sorted(maps.Keys(advice)); !slices.Equal(have, want) {
		t.Errorf("advice about %q, want it about %q", advice, want)
	}
}

// healthy are the settings of a Redis that is fit for a cache.
var healthy = []string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}

func TestDoctorOfRedis(t *testing.T) {
	t.Parallel()
	t.Run("all is well", func(t *testing.T) {
		t.Parallel()
		s := startRedis(t, healthy...)
		advice, values := diagnosed(t, "--backend", s.url)
		advised(t, advice)
		if values["tracking"] != "allowed, over RESP3" || !strings.HasPrefix(values["version"], "Redis ") || !strings.HasPrefix(values["maxmemory"], "100.0 MiB, ") || values["eviction"] != "allkeys-lru" ||
			!strings.HasPrefix(values["clock"], "that of this host") || !strings.Contains(values["round trip"], "in the median of 20 reads") || !strings.HasPrefix(values["backend"], "redis, shared by processes, fenced leases, ") {
			t.Errorf("%q", values)
		}
		if keys := s.keys(t); len(keys) != 0 {
			t.Errorf("it leaves %q", keys)
		}
	})
	t.Run("as it is installed", func(t *testing.T) {
		t.Parallel()
		advice, _ := diagnosed(t, "--backend", startRedis(t).url)
		advised(t, advice, "maxmemory", "eviction")
	})
	t.Run("full", func(t *testing.T) {
		t.Parallel()
		advice, values := diagnosed(t, "--backend", startRedis(t, "--maxmemory", "1").url)
		advised(t, advice, "storing", "eviction")
		if !strings.Contains(values["storing"], "OOM") || !strings.HasPrefix(advice["storing"], "the server is full") {
			t.Errorf("%q, %q", values["storing"], advice["storing"])
		}
	})
	t.Run("a replica", func(t *testing.T) {
		t.Parallel()
		host, port, _ := strings.Cut(startRedis(t).addr, ":")
		s := startRedis(t, append([]string{"--replicaof", host + " " + port, "--masterauth", "hunter2"}, healthy...)...)
		eventually(t, "the replica to have its data", func() bool {
			info, err := s.client.Do(t.Context(), s.client.B().Info().Section("replication").Build()).ToString()
			return err == nil && strings.Contains(info, "master_link_status:up")
		})
		advice, values := diagnosed(t, "--backend", s.url)
		advised(t, advice, "storing", "role")
		if values["role"] != "replica of "+host+":"+port || !strings.HasPrefix(advice["storing"], "this server is a replica") {
			t.Errorf("%q, %q", values["role"], advice["storing"])
		}
	})
}

// TestDoctorOfRedisInTrouble: what is planted is found, and nothing else.
func TestDoctorOfRedisInTrouble(t *testing.T) {
	t.Parallel()
	t.Run("a user who may do little", func(t *testing.T) {
		t.Parallel()
		s := startRedis(t, healthy...)
		ok(t, s.client.Do(t.Context(), s.client.B().Arbitrary("ACL", "SETUSER", "u", "on", ">hunter2", "~*", "+@all", "-info", "-time", "-client|tracking", "-set", "-evalsha", "-eval").Build()).Error())
		advice, values := diagnosed(t, "--backend", strings.Replace(s.url, "://:", "://u:", 1))
		advised(t, advice, "server", "clock", "tracking", "storing")
		if !strings.Contains(values["tracking"], "NOPERM") || !strings.Contains(advice["tracking"], "allow CLIENT TRACKING") {
			t.Errorf("%q: %q", values["tracking"], advice["tracking"])
		}
	})
	t.Run("entries that are never evicted", func(t *testing.T) {
		t.Parallel()
		s := startRedis(t, "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")
		file := write(t, t.TempDir(), "app.toml", "[cache.a]\nbackend = '"+s.url+"'\n[cache.b]\nbackend = '"+s.url+"'\nexpiration = '1h'\n")
		advice, _ := diagnosed(t, "--config", file, "--region", "a")
		advised(t, advice, "eviction")
		advice, _ = diagnosed(t, "--config", file, "--region", "b")
		advised(t, advice)
	})
	t.Run("a clock that is wrong and a network that is slow", func(t *testing.T) {
		t.Parallel()
		s := startRedis(t, healthy...)
		url := strings.Replace(s.url, s.addr, relay(t, s.addr, 10*time.Millisecond, `(\*2\r\n\$10\r\n)(\d{10})`), 1)
		advice, values := diagnosed(t, "--backend", url)
		advised(t, advice, "clock", "round trip")
		if !strings.HasPrefix(values["clock"], "1h0m0") || !strings.HasSuffix(values["clock"], " ahead of this host's") {
			t.Errorf("%q", values["clock"])
		}
	})
}

// relay listens for connections to a server, delays its answers, and puts its clock an hour ahead:
// the second part of what clock matches in an answer.
func relay(t *testing.T, server string, delay time.Duration, clock string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { l.Close() })
	time10 := regexp.MustCompile(clock)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				return
			}
			go func() { io.Copy(upstream, client); upstream.Close() }()
			go func() {
				defer client.Close()
				buf := make([]byte, 1<<20)
				for {
					n, err := upstream.Read(buf)
					if err != nil {
						return
					}
					timer := time.NewTimer(delay)
					<-timer.C
					answer := time10.ReplaceAllFunc(buf[:n], func(found []byte) []byte {
						parts := time10.FindSubmatch(found)
						seconds, _ := strconv.Atoi(string(parts[2]))
						return append(slices.Clone(parts[1]), strconv.Itoa(seconds+3600)...)
					})
					if _, err := client.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestDoctorOfMemcached(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name    string
		servers [][]string // arguments
		query   string
		advice  []string
	}{
		{"all is well", [][]string{{"-m", "100"}}, "", nil},
		{"as it is installed", [][]string{{}}, "", []string{"memory"}},
		{"no eviction", [][]string{{"-m", "100", "-M"}}, "", []string{"eviction"}},
		{"two servers, of which one is small", [][]string{{"-m", "100"}, {}}, "", []string{"memory"}},
		{"leases as Python has them", [][]string{{"-m", "100"}}, "&python_lock=true", []string{"backend"}},
		{"the binary protocol", [][]string{{"-m", "100"}}, "&protocol=binary", []string{"backend"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var addrs []string
			for _, args := range row.servers {
				addrs = append(addrs, backendtest.StartMemcached(t, args...).Addr())
			}
			advice, values := diagnosed(t, "--backend", "memcached://"+strings.Join(addrs, ",")+"?"+patient+row.query)
			advised(t, advice, row.advice...)
			if !strings.HasPrefix(values["version"], "memcached 1.6.") && row.name != "the binary protocol" {
				t.Errorf("%q", values)
			}
		})
	}
	t.Run("a clock that is wrong", func(t *testing.T) {
		t.Parallel()
		addr := relay(t, backendtest.StartMemcached(t, "-m", "100").Addr(), 0, `(STAT time )(\d{10})`)
		advice, values := diagnosed(t, "--backend", "memcached://"+addr+"?"+patient)
		advised(t, advice, "clock")
		if !strings.HasSuffix(values["clock"], " ahead of this host's") {
			t.Errorf("%q", values["clock"])
		}
	})
}

// TestDoctorOfServersOfWhichOneIsDown: what is known of the others is told, and that this one is down.
func TestDoctorOfServersOfWhichOneIsDown(t *testing.T) {
	t.Parallel()
	addr := backendtest.StartMemcached(t, "-m", "100").Addr()
	got := tool(t, "doctor", "--backend", "memcached://"+addr+",127.0.0.1:1?"+patient, "--json")
	checks := make(map[string]map[string]any)
	for line := range strings.Lines(got.stdout) {
		check := object(t, line)
		server, _ := check["server"].(string)
		checks[check["check"].(string)+" "+server] = check
	}
	if got.code != 1 || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "127.0.0.1:1") ||
		!strings.Contains(fmt.Sprint(checks["answer "]["value"]), "127.0.0.1:1") || checks["answer "]["advice"] == nil ||
		checks["version "+addr]["advice"] != nil || !strings.HasPrefix(fmt.Sprint(checks["version "+addr]["value"]), "memcached 1.6.") || checks["server 127.0.0.1:1"]["advice"] == nil {
		t.Errorf("%+v", got)
	}
	for _, url := range []string{"memcached://127.0.0.1:1", "redis://:hunter2@127.0.0.1:1"} {
		got := tool(t, "doctor", "--backend", url)
		if got.code != 1 || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stdout, "\n!!  ") && !strings.HasPrefix(got.stdout, "!!  ") {
			t.Errorf("%s: %+v", url, got)
		}
	}
}

func TestDoctorOfAFile(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/cache.db"
	url := "file://?timeout=20s&path=" + path
	advice, values := diagnosed(t, "--backend", url)
	delete(advice, "disk") // is that of the host
	if len(advice) > 0 || values["permissions"] != "-rw-------" || !strings.Contains(values["file"], "cache.db") {
		t.Errorf("%q, %q", advice, values)
	}
	ok(t, os.Chmod(path, 0o644))
	if advice, _ := diagnosed(t, "--backend", url); !strings.HasPrefix(advice["permissions"], "every user of the host") {
		t.Errorf("%q", advice)
	}
}

func TestDoctorOfBackendsInMemory(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{"memory": "each process caches for itself", "null": "nothing is cached"} {
		if advice, _ := diagnosed(t, "--backend", url); !strings.HasPrefix(advice["backend"], want) || len(advice) != 1 {
			t.Errorf("%s: %q", url, advice)
		}
	}
}

// TestDoctorForPeople: what is unfit is marked, with its advice below; in colours on a terminal
// alone.
func TestDoctorForPeople(t *testing.T) {
	t.Parallel()
	url := startRedis(t, "--maxmemory-policy", "allkeys-lru", "--maxmemory", "0").url
	got := tool(t, "doctor", "--backend", url)
	if got.code != 3 || got.stderr != "" || strings.Contains(got.stdout, "\x1b") ||
		!strings.Contains(got.stdout, "\n!!  maxmemory   no limit, ") || !strings.Contains(got.stdout, " in use\n                → a cache grows as long as it may: set maxmemory to what the host can spare\n") ||
		!strings.Contains(got.stdout, "\nok  eviction    allkeys-lru\n") {
		t.Errorf("%+v", got)
	}
	for _, row := range []struct {
		name   string
		env    []string
		colour bool
	}{{"a terminal", []string{"NO_COLOR="}, true}, {"NO_COLOR", []string{"NO_COLOR=1"}, false}, {"TERM=dumb", []string{"TERM=dumb"}, false}} {
		shown, code := onTerminal(t, 50, append([]string{"TERM=xterm"}, row.env...), "doctor", "--backend", url)
		plain := regexp.MustCompile(`\x1b\[\d*m`).ReplaceAllString(shown, "")
		if code != 3 || (plain != shown) != row.colour {
			t.Errorf("%s: exit %d, %q", row.name, code, shown)
		}
		for line := range strings.Lines(plain) {
			if len([]rune(strings.TrimSuffix(line, "\n"))) > 50 {
				t.Errorf("%s: the line %q wraps", row.name, line)
			}
		}
	}
}
