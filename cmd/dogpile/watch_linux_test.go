package main_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// watchedKey reads what watch tells of its first key until that is as cond wants it.
func watchedKey(t *testing.T, next func() string, what string, cond func(key map[string]any) bool) {
	t.Helper()
	var last any
	for range 500 {
		line := object(t, next())
		if last = line; line["keys"] == nil {
			continue
		}
		if cond(line["keys"].([]any)[0].(map[string]any)) {
			return
		}
	}
	t.Fatalf("it never tells %s; the last that it has told is %v", what, last)
}

func state(want string) func(map[string]any) bool {
	return func(key map[string]any) bool { return key["state"] == want && key["creating"] == false }
}

// TestWatchTellsOfChanges as they happen: a creation and who does it, an entry that becomes stale,
// one that is invalidated, and one that is deleted.
func TestWatchTellsOfChanges(t *testing.T) {
	t.Parallel()
	for name, url := range backends(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := write(t, t.TempDir(), "app.toml", "[cache.users]\nbackend = '"+url+"'\nexpiration = '1s'\nstale_for = '1h'\n")
			region := regionAt(t, url, "users", &dogpile.Options{Expiration: time.Second, StaleFor: time.Hour})
			cache := dogpile.NewCache[string](region, nil)
			_, next := lines(t, "watch", "--config", file, "--json", "--interval", "200ms", "--timeout", "20s", "k")
			absent := func(key map[string]any) bool { return key["found"] == false && key["creating"] == false }
			watchedKey(t, next, "that there is nothing", absent)
			_, err := cache.GetOrCreate(t.Context(), "k", func(context.Context) (string, error) {
				watchedKey(t, next, "who creates it", func(key map[string]any) bool {
					holder, _ := key["holder"].(map[string]any)
					// memcached keeps of a lease what fits into it.
					return key["creating"] == true && holder["pid"] == float64(os.Getpid())
				})
				return "v", nil
			})
			ok(t, err)
			watchedKey(t, next, "that it is stale", state("stale"))
			ok(t, cache.Set(t.Context(), "k", "anew"))
			watchedKey(t, next, "that it is fresh", state("fresh"))
			ok(t, region.Invalidate(t.Context(), dogpile.Hard))
			watchedKey(t, next, "that it is invalidated", state("invalidated"))
			ok(t, region.Delete(t.Context(), "k"))
			watchedKey(t, next, "that it is gone", absent)
		})
	}
}

// TestWatchOfALongKey: a line is cut off where the terminal ends, in no more time than it takes to
// read the key. Some characters take two columns.
func TestWatchOfALongKey(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("ключ🔑", 5_000)
	shown, code := onTerminal(t, 60, nil, "watch", "--once", "--timeout", "20s", "--backend", fileURL(t), key)
	var row string
	for line := range strings.Lines(shown) {
		if strings.HasPrefix(line, "ключ🔑") {
			row = strings.TrimSpace(line)
		}
	}
	if code != 0 || !strings.HasPrefix(row, "ключ🔑ключ…   not there") {
		t.Errorf("exit %d, the row is %q", code, row)
	}
}

// TestWatchOfManyKeysOfASlowServer: --timeout is the time of each, and not of all together.
func TestWatchOfManyKeysOfASlowServer(t *testing.T) {
	t.Parallel()
	const delay, timeout, n = 200 * time.Millisecond, 10 * time.Second, 40
	network := backendtest.NewNetwork(t, backendtest.StartMemcached(t).Addr())
	network.Slow("", delay)
	args := []string{"watch", "--once", "--json", "--timeout", timeout.String(), "--backend", "memcached://" + network.Addr + "?" + patient}
	for i := range n {
		args = append(args, fmt.Sprint("k", i))
	}
	got := object(t, quietly(t, args...))
	if keys := got["keys"].([]any); len(keys) != n || keys[n-1].(map[string]any)["key"] != fmt.Sprint("k", n-1) {
		t.Errorf("%v", got)
	}
}

// TestWatchOfAServerThatGoesAndComes shows what the server has said before, and goes on.
func TestWatchOfAServerThatGoesAndComes(t *testing.T) {
	t.Parallel()
	server, url := backendtest.StartRedis(t)
	cache := dogpile.NewCache[string](regionAt(t, url, "users", nil), nil)
	ok(t, cache.Set(t.Context(), "\x1b[31mred", "v"))
	s, cmd := before(t, t.TempDir(), 90, "watch", "--backend", url, "--region", "users", "--interval", "200ms", "--timeout", "2s", "\x1b[31mred", "other")
	const key = `"\x1b[31mred"`
	row := func() string {
		for line := range strings.SplitSeq(s.Text(), "\n") {
			if strings.HasPrefix(line, key) {
				return line
			}
		}
		return ""
	}
	has := func(words ...string) {
		t.Helper()
		eventually(t, strings.Join(words, ", "), func() bool {
			for _, word := range words {
				if !strings.Contains(row(), word) {
					return false
				}
			}
			return true
		})
	}
	has("unknown", " ms ", "no")
	seen(t, s, "not there")
	server.Kill()
	seen(t, s, "the backend has not answered for")
	seen(t, s, "below is what it has said before that")
	has("unknown")
	unanswered := func() time.Duration {
		_, rest, _ := strings.Cut(s.Text(), "has not answered for ")
		text, _, _ := strings.Cut(rest, ":")
		d, _ := time.ParseDuration(strings.ReplaceAll(text, " ", ""))
		return d
	}
	eventually(t, "a second without an answer", func() bool { return unanswered() > time.Second })
	server.Start(t)
	eventually(t, "an answer", func() bool { return !strings.Contains(s.Text(), "has not answered") })
	has("not there", "ago") // this server has forgotten everything
	killed := time.Now()
	server.Kill()
	seen(t, s, "has not answered for")
	if d := unanswered(); d <= 0 || d > time.Since(killed)+time.Second/2 {
		t.Errorf("for the second time it has not answered for %v of %v", d, time.Since(killed))
	}
	ok(t, s.Resize(40, 12))
	eventually(t, "a narrow screen", func() bool {
		for line := range strings.SplitSeq(s.Text(), "\n") {
			if len([]rune(line)) > 40 {
				return false
			}
		}
		return strings.HasPrefix(row(), key[:11]) && strings.Contains(s.Text(), "not there")
	})
	if strings.Contains(s.Written(), "\x1b[31mred") {
		t.Error("the key has coloured the terminal")
	}
	ok(t, s.Type("q"))
	over(t, s, cmd, 0)
}

// TestWatchOnce tells what peek tells, and fails where the server does not answer.
func TestWatchOnce(t *testing.T) {
	t.Parallel()
	url := fileURL(t)
	cache := dogpile.NewCache[string](regionAt(t, url, "users", nil), nil)
	ok(t, cache.Set(t.Context(), "k", "v"))
	text := quietly(t, "watch", "--once", "--backend", url, "--region", "users", "k", "other\n")
	shown := strings.Split(text, "\n")
	if len(shown) != 6 || shown[1] != "users over file" || !strings.HasPrefix(shown[2], "key") || !strings.HasPrefix(shown[3], "k  ") ||
		!strings.Contains(shown[3], " unknown ") || !strings.HasPrefix(shown[4], `"other\n"`) || !strings.Contains(shown[4], "not there") {
		t.Errorf("got\n%s", text)
	}
	got := tool(t, "watch", "--once", "--json", "--backend", "redis://:hunter2@127.0.0.1:1/0", "k")
	if got.code != 1 || object(t, got.stdout)["error"] == nil || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("%+v", got)
	}
}
