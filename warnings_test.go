package dogpile_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// warningRows are settings below "c." and the beginnings of what is said of them.
var warningRows = []struct {
	name     string
	settings map[string]string
	want     []string
}{
	{"nothing", nil, nil},
	{"a sane configuration", map[string]string{
		"c.backends.main": "redis://h/0", "c.users.backend": "@main", "c.users.expiration": "1h", "c.users.stale_for": "1d", "c.users.stale_if_error": "2d",
		"c.users.create_timeout": "5s", "c.users.jitter": ".1", "c.users.invalidation_lag": "1s",
		"c.rates.backend": "@main", "c.rates.expiration": "10s", "c.rates.lock_ttl": "5s", "c.rates.prefix": "r/", "c.rates.stale_for": "0",
		"c.local.backend": "memory://?max_entries=1000", "c.local.prefix": "none", "c.other.backend": "memory://?max_entries=1000", "c.other.prefix": "none",
		"d.what": "ever"}, nil},

	{"prefixes over a shared backend", map[string]string{"c.backends.main": "redis://h", "c.a.backend": "@main", "c.a.prefix": "v", "c.b.backend": "@MAIN", "c.b.prefix": "v2:"},
		[]string{`c.b.prefix: a key of region "b" can be one of region "a", as its prefix "v2:" begins with "v" and both are over one backend`}},
	{"prefixes that are the same", map[string]string{"c.a.backend": "redis://h/0", "c.a.prefix": "v:", "c.b.backend": "redis://h/0", "c.b.prefix": "v:"},
		[]string{`c.b.prefix: a key of region "b" can be one of region "a"`}},
	{"no prefix", map[string]string{"c.a.backend": "redis://u:p@h/0", "c.a.prefix": "none", "c.b.backend": "redis://h/0?timeout=1s"},
		[]string{`c.a.prefix: a key of region "b" can be one of region "a", as its prefix "b:" begins with ""`}},
	{"an explicit prefix that is a name", map[string]string{"c.a.backend": "file", "c.a.arguments.path": "/x", "c.b.backend": "file", "c.b.arguments.path": "/x", "c.b.prefix": "a:"},
		[]string{`c.b.prefix: a key of region "b" can be one of region "a", as its prefix "a:" begins with "a:"`}},
	{"prefixes over two backends", map[string]string{"c.a.backend": "redis://h/0", "c.a.prefix": "v:", "c.b.backend": "redis://h/1", "c.b.prefix": "v:"}, nil},
	{"prefixes over two files", map[string]string{"c.a.backend": "file", "c.a.arguments.path": "/x", "c.a.prefix": "v:", "c.b.backend": "file", "c.b.arguments.path": "/y", "c.b.prefix": "v:"}, nil},
	{"prefixes that differ", map[string]string{"c.backends.main": "redis://h", "c.a.backend": "@main", "c.a.prefix": "a", "c.b.backend": "@main", "c.b.prefix": "b"}, nil},

	{"a shared backend that nobody uses", map[string]string{"c.backends.Main": "redis://h", "c.backends.other": "null", "c.a.backend": "@other"},
		[]string{"c.backends.Main: no region uses this backend"}},
	{"expiration of 0", map[string]string{"c.a.backend": "null", "c.a.expiration_time": "0"}, []string{"c.a.expiration_time: each call creates"}},
	{"staleness without expiration", map[string]string{"c.a.backend": "null", "c.a.stale_for": "1h", "c.a.stale_if_error": "2h"},
		[]string{"c.a.stale_for: it has no effect", "c.a.stale_if_error: it has no effect"}},
	{"renewal ahead of no expiration", map[string]string{"c.a.backend": "null", "c.a.refresh_ahead": ".5"}, []string{"c.a.refresh_ahead: it has no effect"}},
	{"a shared backend of a region at fault", map[string]string{"c.backends.main": "null", "c.a.backend": "@main", "c.a.jitter": "2"}, nil},
	{"a shared backend that is at fault", map[string]string{"c.backends.main.arguments.x": "1", "c.a.backend": "null"}, nil},
	{"lag longer than expiration", map[string]string{"c.a.backend": "null", "c.a.expiration": "1s", "c.a.invalidation_lag": "2s"}, []string{"c.a.invalidation_lag: entries expire after 1s"}},
	{"lock longer than a creation", map[string]string{"c.a.backend": "null", "c.a.lock_ttl": "1m"}, []string{"c.a.lock_ttl: if a creator's process dies others wait for 1m0s"}},
	{"a backend that may take the time of a creation", map[string]string{"c.a.backend": "null", "c.a.create_timeout": "2s"},
		[]string{"c.a.create_timeout: a backend that hangs uses up all the time of a creation: backend_timeout is 2s, create_timeout 2s"}},
	{"a backend without a limit", map[string]string{"c.a.backend": "null", "c.a.backend_timeout": "never"}, []string{"c.a.backend_timeout: a backend that hangs"}},
	{"no limits at all", map[string]string{"c.a.backend": "null", "c.a.backend_timeout": "never", "c.a.create_timeout": "never", "c.a.lock_ttl": "1h"}, nil},
	{"letters that are longer in lower case", map[string]string{"c." + strings.Repeat("Ⱥ", 30) + ".arguments.x": "1"}, nil},
	{"faults are not for it to tell", map[string]string{"c.a.backend": "null", "c.a.jitter": "2", "c.a.stale_for": "1h", "c.what": ""}, nil},
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, row := range warningRows {
		t.Run(row.name, func(t *testing.T) {
			got := dogpile.Setup{Settings: row.settings, Prefix: "c."}.Warnings()
			if !slices.EqualFunc(got, row.want, strings.HasPrefix) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestWarningsOfOptions(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"a.backend": "@main", "b.backend": "@main", "b.prefix": "a"}
	s := dogpile.Setup{
		Settings: settings,
		Options:  &dogpile.Options{StaleFor: time.Hour},
		Regions:  map[string]*dogpile.Options{"a": {Expiration: time.Hour}, "c": {Expiration: time.Hour}},
		Backends: map[string]driver.Backend{"main": new(plainBackend), "idle": new(plainBackend)},
	}
	want := []string{
		`Setup.Backends "idle": no region uses this backend`,
		`Setup.Regions "c": the settings have no region of this name`,
		`b.prefix: a key of region "a" can be one of region "b", as its prefix "a:" begins with "a" and both are over one backend`,
		"b.stale_for: it has no effect where a cache has no expiration, as the region has none",
	}
	if got := s.Warnings(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestWarningsOfARegionWithCapitals: of its own spelling there is nothing in settings that
// come from the environment alone.
func TestWarningsOfARegionWithCapitals(t *testing.T) {
	t.Parallel()
	s := dogpile.Setup{
		Settings: map[string]string{"usercache.backend": "null", "usercache.stale_for": "1h"},
		Regions:  map[string]*dogpile.Options{"UserCache": {Expiration: time.Hour}},
	}
	if got := s.Warnings(); len(got) > 0 {
		t.Errorf("got %q", got)
	}
}

// TestWarningsAreNoFaultsAndShowNoSecrets: and nothing is opened for them.
func TestWarningsAreNoFaultsAndShowNoSecrets(t *testing.T) {
	t.Parallel()
	b := track("warned of")
	settings := map[string]string{
		"a.backend": "tracked://u:s3cret@h/0", "a.arguments.id": "warned of", "a.arguments.secret": "s3cret", "a.prefix": "none", "a.expiration": "0",
		"b.backend": "tracked://u:s3cret@h/0", "b.arguments.id": "warned of",
	}
	given := maps.Clone(settings)
	s := dogpile.Setup{Settings: settings}
	got := s.Warnings()
	if len(got) != 2 || strings.Contains(fmt.Sprint(got), "s3cret") || b.opens > 0 || !maps.Equal(settings, given) {
		t.Errorf("got %q; opened %d times", got, b.opens)
	}
	setUp(t, s, "a", "b")
}
