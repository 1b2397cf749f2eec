package main_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// tokens are what other keys than users:k hold on a server.
func (s *server) tokens(t *testing.T) map[string]string {
	t.Helper()
	tokens := make(map[string]string)
	for _, key := range s.keys(t) {
		if key != "users:k" {
			value, err := s.client.Do(context.Background(), s.client.B().Get().Key(key).Build()).ToString()
			ok(t, err)
			tokens[key] = value
		}
	}
	return tokens
}

// exactly returns a server with an entry under k of a region whose processes keep exact copies for
// lag, and the settings of a program that has another one.
func exactly(t *testing.T, lag time.Duration) (s *server, file string) {
	t.Helper()
	s = startRedis(t)
	r := regionAt(t, s.url, "users", &dogpile.Options{Near: &dogpile.Near{Lag: lag, Exact: true}})
	ok(t, dogpile.NewCache[string](r, nil).Set(t.Context(), "k", "v"))
	eventually(t, "a claim in the version token", func() bool {
		return slices.ContainsFunc(slices.Collect(maps.Values(s.tokens(t))), func(token string) bool { return strings.Contains(token, fmt.Sprint(lag.Nanoseconds())) })
	})
	ok(t, r.Close(context.Background()))
	return s, write(t, t.TempDir(), "app.toml", "[cache.users]\nbackend = '"+s.url+"'\n[cache.users.Near]\nlag = '3s'\nexact = true\n")
}

// TestReadingTellsNobodyOfCopies: a command keeps none, so that it writes no claim, and there is
// none that others could disagree with.
func TestReadingTellsNobodyOfCopies(t *testing.T) {
	t.Parallel()
	s, file := exactly(t, time.Second)
	before := s.tokens(t)
	for _, args := range [][]string{
		{"get", "k", "--config", file}, {"peek", "k", "--config", file}, {"watch", "k", "--once", "--config", file},
		{"ls", "--config", file}, {"check", "--connect", file},
	} {
		if got := tool(t, args...); got.code != 0 {
			t.Errorf("%q: %+v", args, got)
		}
		if after := s.tokens(t); !maps.Equal(before, after) {
			t.Errorf("%q has written %q, which was %q", args, after, before)
		}
	}
}

// TestMendingWaitsForCopies of other processes, of which the version token tells.
func TestMendingWaitsForCopies(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"rm", "k"}, {"invalidate"}} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			const lag = time.Second
			_, file := exactly(t, lag)
			began := time.Now()
			quietly(t, append(args, "--config", file, "--timeout", "1m")...)
			if took := time.Since(began); took < lag {
				t.Errorf("it was done after %v; copies live for %v", took, lag)
			}
		})
	}
}
