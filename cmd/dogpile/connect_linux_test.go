package main_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestCheckConnect: each region whose backend does not answer is told of, and no other.
func TestCheckConnect(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	redis := startRedis(t).url
	good := write(t, dir, "good.toml", fmt.Sprintf("[cache.a]\nbackend = '%s'\n[cache.b]\nbackend = 'memory'\n[cache.c]\nbackend = 'null'\n", redis))
	if got := quietly(t, "check", "--connect", good); got != good+": nothing is wrong\n" {
		t.Errorf("%q", got)
	}
	wrong := strings.Replace(redis, "hunter2", "hunter22", 1)
	bad := write(t, dir, "bad.toml", fmt.Sprintf("[cache.backends]\nunused = 'null'\n[cache.a]\nbackend = '%s'\n[cache.b]\nbackend = 'redis://u:hunter2@127.0.0.1:1'\n[cache.c]\nbackend = '%s'\n", redis, wrong))
	got := tool(t, "check", "--connect", bad)
	lines := strings.Split(got.stdout, "\n")
	if got.code != 1 || got.stderr != "dogpile: "+bad+": 2 of its regions cannot reach their backend\n" || len(lines) != 4 ||
		!strings.HasPrefix(lines[0], "unreachable: cache.b.backend: ") || !strings.Contains(lines[0], "connection refused") ||
		!strings.HasPrefix(lines[1], "unreachable: cache.c.backend: ") || !strings.Contains(lines[1], "WRONGPASS") ||
		lines[2] != "warning: cache.backends.unused: no region uses this backend" {
		t.Errorf("%+v", got)
	}
	got = tool(t, "check", "--connect", "--json", bad)
	fields := object(t, got.stdout)
	if got.code != 1 || len(fields["faults"].([]any)) != 0 || len(fields["warnings"].([]any)) != 1 || len(fields["unreachable"].([]any)) != 2 || fields["file"] != bad {
		t.Errorf("%+v", got)
	}
	if got := tool(t, "check", bad); got.code != 0 || got.stdout != lines[2]+"\n" {
		t.Errorf("without --connect: %+v", got)
	}
	oneLine(t, tool(t, "check", "--connect", "--timeout=0", bad), 2, "--timeout is 0s")
}

// TestCheckForPrograms: all lists are there, also where they are empty.
func TestCheckForPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := write(t, dir, "app.json", `{"cache.a.backend": "memory", "cache.a.jitter": 2, "cache.a.cod\u001bec": "redis://u:hunter2@h"}`)
	got := tool(t, "check", "--json", file)
	want := `{"file":"` + file + `","faults":["cache.a.cod\\x1bec: is unknown","cache.a.jitter: 2 is not from 0 to less than 1"],"warnings":[],"unreachable":[]}` + "\n"
	if got.code != 1 || got.stdout != want {
		t.Errorf("%+v, want %s", got, want)
	}
	file = write(t, dir, "secret.toml", "[cache.a]\nbackend = 'memory'\ncodec = 'redis://u:hunter2@h'\nmangler = 'redis://h?password=hunter2'\n")
	if got := tool(t, "check", file); got.code != 1 || strings.Count(got.stdout, "fault: ") != 2 {
		t.Errorf("%+v", got)
	}
}
