package main_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func TestPeek(t *testing.T) {
	t.Parallel()
	for name, url := range backends(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := write(t, t.TempDir(), "app.toml", "[cache.users]\nbackend = '"+url+"'\nexpiration = '1h'\n")
			states(t, url)
			for key, want := range map[string]string{
				"fresh":   "key _fresh\nstate fresh\nage _, created _\nsize # bytes, of these 7 bytes the value\ndropped in _\ncreating no\n",
				"damaged": "key _damaged\nstate unreadable: malformed entry\nsize 8 bytes\ndropped in _\ncreating no\n",
				"absent":  "key _absent\nstate not there\ncreating no\n",
				"stale": "key _stale\nstate stale\nage _, created _\ncreation took _\nsize # bytes, of these 7 bytes the value\ndropped in _\n" +
					"expires after _ (its own)\nstale for _ (its own)\ntags product:42 \"\\x1b]0;hello\"\ncreating no\n",
			} {
				got := tool(t, "peek", "--config", file, key)
				if shape := peekShape(got.stdout, key); shape != want || got.stderr != "" || (got.code == 3) != (key == "damaged" || key == "absent") {
					t.Errorf("%s: exit %d, %q, got %q\nwant %q", key, got.code, got.stderr, shape, want)
				}
			}
			peekForPrograms(t, file)
		})
	}
}

// peekShape is what peek shows without gaps, sizes and times.
func peekShape(text, key string) string {
	var b strings.Builder
	for line := range strings.Lines(settled(strings.Replace(text, key, "_"+key, 1))) {
		b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	shape := b.String()
	if at := strings.Index(shape, "size "); at >= 0 && !strings.Contains(shape, "size 8 bytes") {
		rest := shape[at+5:]
		shape = shape[:at+5] + "#" + rest[strings.Index(rest, " "):]
	}
	return shape
}

func peekForPrograms(t *testing.T, file string) {
	got := tool(t, "peek", "--config", file, "--json", "stale", "none", "old", "schema", "absent")
	lines := slices.Collect(strings.Lines(got.stdout))
	if got.code != 3 || got.stderr != "" || len(lines) != 5 {
		t.Fatalf("%+v", got)
	}
	stale := object(t, lines[0])
	want := []string{"age_s", "created", "creating", "expire_in_s", "found", "key", "size", "stale_for_s", "state", "tags", "took_s", "ttl_s", "value_size"}
	if have := slices.Sorted(maps.Keys(stale)); !slices.Equal(have, want) {
		t.Errorf("fields %q, want %q", have, want)
	}
	created, err := time.Parse(time.RFC3339Nano, stale["created"].(string))
	if err != nil || time.Since(created) > time.Hour || stale["state"] != "stale" || stale["stale_for_s"] != 3600. {
		t.Errorf("%v (%v)", stale, err)
	}
	if ttl := stale["ttl_s"].(float64); ttl < 3000 || ttl > 3603 {
		t.Errorf("TTL %v", ttl)
	}
	if none := object(t, lines[1]); none["not_found"] != true || none["state"] != "fresh" {
		t.Errorf("none: %v", none)
	}
	if old := object(t, lines[2]); old["state"] != "invalidated" || old["found"] != true {
		t.Errorf("old: %v", old)
	}
	if schema := object(t, lines[3]); schema["schema"] != "2" || schema["state"] != "fresh" {
		t.Errorf("schema: %v", schema)
	}
	if absent := lines[4]; absent != `{"key":"absent","found":false,"creating":false}`+"\n" {
		t.Errorf("absent: %s", absent)
	}
}

// TestPeekTellsThatSomebodyCreates while a creator runs.
func TestPeekTellsThatSomebodyCreates(t *testing.T) {
	t.Parallel()
	for name, url := range backends(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := dogpile.NewCache[string](regionAt(t, url, "users", nil), nil)
			_, err := cache.GetOrCreate(t.Context(), "k", func(context.Context) (string, error) {
				got := tool(t, "peek", "--backend", url, "--region", "users", "--json", "k")
				if fields := object(t, got.stdout); got.code != 3 || fields["creating"] != true || fields["found"] != false {
					t.Errorf("%+v", got)
				}
				return "v", nil
			})
			ok(t, err)
		})
	}
}

// TestReadingAndDeletingAskForNoMoreThanTheyNeed: rm reads all keys at once, and neither it nor get
// asks for a TTL, which not every user may.
func TestReadingAndDeletingAskForNoMoreThanTheyNeed(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	do := func(command ...string) string {
		t.Helper()
		said, err := s.client.Do(t.Context(), s.client.B().Arbitrary(command...).Build()).ToString()
		ok(t, err)
		return said
	}
	do("ACL", "SETUSER", "reader", "on", ">hunter2", "~*", "&*", "+@all", "-pttl", "-ttl")
	url := strings.Replace(s.url, "redis://:", "redis://reader:", 1)
	cache := dogpile.NewCache[string](regionAt(t, s.url, "users", nil), nil)
	for _, key := range []string{"a", "b", "c"} {
		ok(t, cache.Set(t.Context(), key, key))
	}
	if got := quietly(t, "get", "--backend", url, "--region", "users", "a"); got != `"a"` {
		t.Errorf("%q", got)
	}
	network := backendtest.NewNetwork(t, s.addr)
	trips := func(keys ...string) int64 {
		before := network.Trips.Load()
		quietly(t, append([]string{"rm", "--backend", strings.Replace(url, s.addr, network.Addr, 1), "--region", "users"}, keys...)...)
		return network.Trips.Load() - before
	}
	one, many := trips("a"), trips(strings.Fields(strings.Repeat("a b c d ", 10))...)
	if many > one+5 { // what is sent at once may arrive in pieces
		t.Errorf("%d round trips for one key, and %d for 40", one, many)
	}
}

// TestRm deletes what other processes see, and revokes the lease of who creates it.
func TestRm(t *testing.T) {
	t.Parallel()
	for name, url := range backends(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := dogpile.NewCache[string](regionAt(t, url, "users", nil), nil)
			ok(t, cache.Set(t.Context(), "a", "1"))
			ok(t, cache.Set(t.Context(), "kept", "1"))
			if got := quietly(t, "rm", "--backend", url, "--region", "users", "a", "b\x1b"); got != "deleted        a\nwas not there  \"b\\x1b\"\n" {
				t.Errorf("%q", got)
			}
			if got := quietly(t, "rm", "--backend", url, "--region", "users", "--json", "a"); got != `{"key":"a","found":false}`+"\n" {
				t.Errorf("%q", got)
			}
			for key, want := range map[string]bool{"a": false, "kept": true} {
				if _, there, err := cache.Get(t.Context(), key); there != want || err != nil {
					t.Errorf("%s: %v, %v", key, there, err)
				}
			}
			_, err := cache.GetOrCreate(t.Context(), "created", func(context.Context) (string, error) {
				quietly(t, "rm", "--backend", url, "--region", "users", "created")
				return "of before", nil
			})
			ok(t, err)
			if _, there, err := cache.Get(t.Context(), "created"); there || err != nil {
				t.Errorf("what was being created when its key was deleted was stored (%v)", err)
			}
		})
	}
}

func TestInvalidate(t *testing.T) {
	t.Parallel()
	for name, url := range backends(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := write(t, t.TempDir(), "app.toml", "[cache.users]\nbackend = '"+url+"'\nexpiration = '1h'\ntag_scope = 's'\n")
			cache := dogpile.NewCache[string](regionAt(t, url, "users", &dogpile.Options{Expiration: time.Hour, TagScope: "s"}), nil)
			tagged := cache.With(dogpile.CacheOptions[string]{Tags: func(string) []string { return []string{"product:42"} }})
			want := func(key string, want dogpile.State) {
				t.Helper()
				if e, there, err := cache.Peek(t.Context(), key); e.State != want || !there || err != nil {
					t.Errorf("%s is %v (%v, %v), want %v", key, e.State, there, err, want)
				}
			}
			for _, row := range []struct {
				args          []string
				says          string
				plain, tagged dogpile.State
			}{
				{[]string{"--config", file, "--soft", "--tag", "product:42", "--tag", "none"}, "invalidated tags product:42, none (soft)\n", dogpile.Fresh, dogpile.Stale},
				{[]string{"--config", file, "--tag", "product:42"}, "invalidated tags product:42 (hard)\n", dogpile.Fresh, dogpile.Invalidated},
				{[]string{"--backend", url, "--tag-scope", "s", "--tag", "product:42"}, "invalidated tags product:42 (hard)\n", dogpile.Fresh, dogpile.Invalidated},
				{[]string{"--backend", url, "--tag", "product:42"}, "invalidated tags product:42 (hard)\n", dogpile.Fresh, dogpile.Fresh}, // of another scope
				{[]string{"--config", file, "--soft", "--json"}, `{"region":"users","mode":"soft"}` + "\n", dogpile.Stale, dogpile.Stale},
				{[]string{"--backend", url, "--region", "users", "--prefix", "users:"}, "invalidated region users (hard)\n", dogpile.Invalidated, dogpile.Invalidated},
				{[]string{"--backend", url, "--region", "other"}, "invalidated region other (hard)\n", dogpile.Fresh, dogpile.Fresh},
			} {
				ok(t, cache.Set(t.Context(), "plain", "1"))
				ok(t, tagged.Set(t.Context(), "tagged", "1"))
				if got := quietly(t, append([]string{"invalidate"}, row.args...)...); got != row.says {
					t.Errorf("%q: %q, want %q", row.args, got, row.says)
				}
				want("plain", row.plain)
				want("tagged", row.tagged)
			}
		})
	}
}
