package main_test

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// production is the file of which the page tells.
const production = `[app:main]
cache.users.backend = dogpile.cache.redis
cache.users.expiration_time = 60
cache.users.arguments.host = 10.0.0.3
cache.users.arguments.password = hunter2
cache.users.arguments.redis_expiration_time = 120
`

// TestTheExamplesOfThePage: each command of docs/command.md writes what the page shows, but for
// what differs from run to run.
func TestTheExamplesOfThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/command.md")
	ok(t, err)
	s := startRedis(t)
	dir := t.TempDir()
	toml := between(string(page), "```toml\n", "```")
	write(t, dir, "app.toml", strings.Replace(toml, "redis://10.0.0.3:6379/1", s.url, 1))
	write(t, dir, "faulty.toml", "[cache.users]\nbackend = 'memory'\njitter = 2\n[cache.rates]\nbackend = 'memory'\nexpiration = 0\n")
	write(t, dir, "production.ini", production)
	cache := dogpile.NewCache[map[string]any](regionAt(t, s.url, "users", &dogpile.Options{Expiration: time.Hour, CreateTimeout: dogpile.Never}), nil)
	_, err = cache.GetOrCreate(t.Context(), "42", func(ctx context.Context) (map[string]any, error) {
		dogpile.Creation(ctx).Tag(ctx, "user:42")
		pause(time.Millisecond)
		return map[string]any{"id": 42, "name": "Ada"}, nil
	})
	ok(t, err)
	ok(t, cache.Set(t.Context(), "44", nil))
	_, err = cache.GetOrCreate(t.Context(), "7", func(context.Context) (map[string]any, error) {
		commands := 0
		for _, block := range strings.Split(string(page), "```console\n")[1:] {
			block, _, _ = strings.Cut(block, "```")
			for _, example := range strings.Split(block, "$ ")[1:] {
				command, want, _ := strings.Cut(example, "\n")
				commands++
				if got := shell(t, dir, command); !alike(got, want) {
					t.Errorf("$ %s\n%s\nwhich has the shape\n%s\nThe page has\n%s", command, got, shape(got), want)
				}
			}
		}
		if commands < 15 {
			t.Errorf("the page has %d commands", commands)
		}
		return nil, nil
	})
	ok(t, err)
}

func pause(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

func between(text, from, to string) string {
	_, text, _ = strings.Cut(text, from)
	text, _, _ = strings.Cut(text, to)
	return text
}

// shell runs a line of the page, and returns what it shows.
func shell(t *testing.T, dir, line string) string {
	t.Helper()
	line, file, redirected := strings.Cut(line, " > ")
	words := strings.Fields(line)
	cmd := in(t, dir, words[1:]...)
	var all strings.Builder
	cmd.Stdout, cmd.Stderr = &all, &all
	if redirected {
		out, err := os.Create(dir + "/" + file)
		ok(t, err)
		defer out.Close()
		cmd.Stdout = out
	}
	if err := cmd.Run(); err != nil {
		if _, exited := err.(*exec.ExitError); !exited {
			t.Fatal(err)
		}
	}
	if strings.Contains(all.String(), "hunter2") {
		t.Errorf("%s shows a password", line)
	}
	return all.String()
}

var (
	aTime   = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ][\d:.]+(Z| UTC)|\d+(\.\d+)? ?(ns|µs|ms|s|KiB|MiB|bytes)\b|\d+h\d\dm|\d+m\d\ds`)
	aNumber = regexp.MustCompile(`\d+(\.\d+)?`)
	aHost   = regexp.MustCompile(`on "[^"]*"`)
	gaps    = regexp.MustCompile(`[ █▏▎▍▌▋▊▉]+`)
)

// shape is text without what differs from run to run.
func shape(text string) string {
	text = aTime.ReplaceAllString(text, "_")
	text = aNumber.ReplaceAllString(text, "#")
	text = aHost.ReplaceAllString(text, "on a host")
	return strings.TrimSpace(gaps.ReplaceAllString(text, " "))
}

// alike reports whether text has the shape of what the page shows, of which a line "…" stands for
// any lines.
func alike(text, shown string) bool {
	want, more, open := strings.Cut(shown, "\n…\n")
	if !open {
		return shape(text) == shape(want)
	}
	return strings.HasPrefix(shape(text), shape(want)) && strings.TrimSpace(more) == ""
}
