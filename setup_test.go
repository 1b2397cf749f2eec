package dogpile_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// setUp configures regions of these names, which are closed when the test ends.
func setUp(t *testing.T, s dogpile.Setup, names ...string) map[string]*dogpile.Region {
	t.Helper()
	byName := make(map[string]*dogpile.Region)
	var regions []*dogpile.Region
	for _, name := range names {
		byName[name] = dogpile.NewRegion(name)
		regions = append(regions, byName[name])
	}
	if err := s.Configure(t.Context(), regions...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, r := range regions {
			if err := r.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	return byName
}

// TestSettingsAndCodeTogether: a region that is configured from a file need not be mute.
func TestSettingsAndCodeTogether(t *testing.T) {
	t.Parallel()
	rec, own := new(recorder), new(recorder)
	logger := slog.New(slog.DiscardHandler)
	regions := setUp(t, dogpile.Setup{
		Prefix: "cache.",
		Settings: map[string]string{
			"cache.users.backend": "null", "cache.users.expiration": "1h", "cache.users.strict": "false", "cache.users.stale_for": "None",
			"cache.rates.backend": "null", "cache.rates.stale_for": "0", "cache.rates.runner": "none",
		},
		Options: &dogpile.Options{
			Hooks: rec.hooks(), Logger: logger, Codec: dogpile.Bytes, Strict: true, Runner: dogpile.Background,
			Expiration: time.Minute, StaleFor: 5 * time.Minute, CreateTimeout: 7 * time.Second,
		},
		Regions: map[string]*dogpile.Options{"rates": {Hooks: own.hooks(), CreateTimeout: 8 * time.Second, LockTTL: 9 * time.Second}, "others": {}},
	}, "users", "rates")
	users, rates := dogpile.OptionsOf(regions["users"]), dogpile.OptionsOf(regions["rates"])
	for _, row := range []struct {
		name      string
		got, want any
	}{
		{"a setting wins over Options", users.Expiration, time.Hour},
		{"false wins over true", users.Strict, false},
		{"None leaves what Options say", users.StaleFor, 5 * time.Minute},
		{"what no setting says", users.CreateTimeout, 7 * time.Second},
		{"logger", users.Logger, logger},
		{"codec", users.Codec, dogpile.Bytes},
		{"runner", users.Runner != nil, true},
		{"default of nobody", users.LockTTL, 10 * time.Second},
		{"Options of all regions", rates.Expiration, time.Minute},
		{"0 wins over Options", rates.StaleFor, dogpile.NoTime},
		{"none wins over Options", rates.Runner == nil, true},
		{"Options of one region win", rates.CreateTimeout, 8 * time.Second},
		{"Options of one region", rates.LockTTL, 9 * time.Second},
	} {
		if row.got != row.want {
			t.Errorf("%s: %v, want %v", row.name, row.got, row.want)
		}
	}
	for _, r := range regions {
		if _, err := dogpile.NewCache[[]byte](r, nil).GetOrCreate(t.Context(), "k", constant([]byte("v")).create); err != nil {
			t.Error(err)
		}
	}
	if a, b := len(rec.take("create")), len(own.take("create")); a != 1 || b != 1 {
		t.Errorf("the hooks of all regions saw %d creations, those of one region %d; want 1 and 1", a, b)
	}
}

// TestFaultsOfOptionsBesideSettings: a fault names the setting that would mend it.
func TestFaultsOfOptionsBesideSettings(t *testing.T) {
	t.Parallel()
	s := dogpile.Setup{
		Settings: map[string]string{"a.backend": "null", "b.backend": "null", "b.stale_for": "1m"},
		Options:  &dogpile.Options{Jitter: 7, StaleIfError: time.Second},
	}
	checkLines(t, s.Configure(t.Context(), dogpile.NewRegion("a"), dogpile.NewRegion("b")), []string{
		"a.jitter: 7 is not from 0", "b.jitter: 7 is not from 0", "b.stale_if_error: 1s is less than StaleFor"})
}

// TestSettingsLeaveOptionsAlone: one Options struct serves many regions.
func TestSettingsLeaveOptionsAlone(t *testing.T) {
	t.Parallel()
	o, own := &dogpile.Options{Expiration: time.Minute}, &dogpile.Options{Jitter: .1}
	setUp(t, dogpile.Setup{Settings: map[string]string{"a.backend": "null", "a.expiration": "1h", "a.jitter": ".2"}, Options: o,
		Regions: map[string]*dogpile.Options{"a": own}}, "a")
	if o.Expiration != time.Minute || o.Jitter != 0 || own.Expiration != 0 || own.Jitter != .1 {
		t.Errorf("they are %+v and %+v", o, own)
	}
}

func TestSharedBackend(t *testing.T) {
	t.Parallel()
	main, own := track("shared main"), track("not shared")
	given := new(plainBackend)
	settings := map[string]string{
		"cache.backends.main": "tracked", "cache.backends.main.arguments.id": "shared main", "cache.backends.idle": "tracked://?fail=true",
		"cache.a.backend": "@main", "cache.b.backend": "@MAIN", "cache.b.proxies": "test-inner",
		"cache.c.backend": "tracked://?id=not+shared", "cache.d.backend": "@given", "cache.e.backend": "@given",
	}
	names := []string{"a", "b", "c", "d", "e"}
	var regions []*dogpile.Region
	for _, name := range names {
		regions = append(regions, dogpile.NewRegion(name))
	}
	s := dogpile.Setup{Settings: settings, Prefix: "cache.", Backends: map[string]driver.Backend{"given": given}}
	if err := s.Configure(t.Context(), regions...); err != nil {
		t.Fatal(err)
	}
	if main.opens != 1 || own.opens != 1 {
		t.Errorf("opened %d and %d times, want once", main.opens, own.opens)
	}
	for i, r := range regions {
		works(t, r)
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		// main is closed with b, which is the last to use it.
		if want := min(i, 1); main.closes() != want {
			t.Errorf("after Close of %s it is closed %d times, want %d", r.Name(), main.closes(), want)
		}
	}
	if own.closes() != 1 || given.closed != 0 {
		t.Errorf("the own backend is closed %d times, the given one %d times; want 1 and 0", own.closes(), given.closed)
	}
	if got := main.keys(); !slices.Equal(got, []string{"a:works", "b:works"}) {
		t.Errorf("keys in it are %q", got)
	}
}

func TestFaultsOfSharedBackends(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		settings map[string]string
		given    map[string]driver.Backend
		want     []string
	}{
		{"unknown name", map[string]string{"backends.main": "null", "backends.other": "null", "a.backend": "@mian"}, nil,
			[]string{`a.backend: there is no shared backend "mian"; known: main, other`}},
		{"no name", map[string]string{"a.backend": "@"}, nil, []string{`a.backend: there is no shared backend ""; known: `}},
		{"none at all", map[string]string{"a.backend": "@main"}, nil, []string{`a.backend: there is no shared backend "main"; known: none, backends.main would be one`}},
		{"arguments alone", map[string]string{"a.backend": "@main", "backends.main.arguments.size": "1"}, nil, []string{"backends.main: is missing"}},
		{"arguments of the region", map[string]string{"a.backend": "@main", "a.arguments.size": "1", "backends.main": "tracked"}, nil,
			[]string{"a.arguments.size: the arguments of a shared backend are backends.main.arguments.*"}},
		{"bad arguments are told of once", map[string]string{"a.backend": "@main", "b.backend": "@main", "backends.main": "tracked://?colour=red", "backends.main.arguments.size": "much"}, nil,
			[]string{`backends.main.arguments.size: argument "size" is not a whole number`, `backends.main: argument "colour" is unknown`}},
		{"in settings and in code", map[string]string{"a.backend": "@main", "backends.main": "null"}, map[string]driver.Backend{"Main": new(plainBackend)},
			[]string{"backends.main: the backend is given in Setup.Backends already"}},
		{"nil", map[string]string{"a.backend": "null"}, map[string]driver.Backend{"main": nil}, []string{`Setup.Backends "main": the backend is nil`}},
		{"twice in code", map[string]string{"a.backend": "null"}, map[string]driver.Backend{"main": new(plainBackend), "Main": new(plainBackend)},
			[]string{`Setup.Backends "main": is given twice, in another case too`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := dogpile.NewRegion("a")
			regions := []*dogpile.Region{a}
			if row.settings["b.backend"] != "" {
				regions = append(regions, dogpile.NewRegion("b"))
			}
			checkLines(t, dogpile.Setup{Settings: row.settings, Backends: row.given}.Configure(t.Context(), regions...), row.want)
			if a.Configured() {
				t.Error("the region is configured")
			}
		})
	}
}

// TestSharedBackendIsClosedAfterAFault: it was opened for a region without fault.
func TestSharedBackendIsClosedAfterAFault(t *testing.T) {
	t.Parallel()
	b := track("shared, with a fault elsewhere")
	err := dogpile.Setup{Settings: map[string]string{
		"backends.main": "tracked", "backends.main.arguments.id": "shared, with a fault elsewhere",
		"a.backend": "@main", "b.backend": "@main", "c.backend": "@main", "c.jitter": "2",
	}}.Configure(t.Context(), dogpile.NewRegion("a"), dogpile.NewRegion("b"), dogpile.NewRegion("c"))
	if err == nil || b.opens != 1 || b.closes() != 1 {
		t.Errorf("Configure = %v; opened %d times and closed %d times", err, b.opens, b.closes())
	}
}

func TestRegionOfTheNameOfSharedBackends(t *testing.T) {
	t.Parallel()
	err := dogpile.ConfigureAll(t.Context(), map[string]string{"backends.backend": "null"}, "", dogpile.NewRegion("backends"))
	checkLines(t, err, []string{`region "backends": in settings the name stands for the backends that regions share`})
}

// TestNamesInAnotherCase: the environment has no case, and names of regions, backends
// and arguments may have capitals.
func TestNamesInAnotherCase(t *testing.T) {
	t.Parallel()
	b := track("another case")
	for _, row := range []struct {
		name     string
		settings map[string]string
		secret   string
	}{
		{"all from the environment", map[string]string{"app.cache.usercache.backend": "tracked", "app.cache.usercache.expiration": "1h",
			"app.cache.usercache.arguments.id": "another case", "app.cache.usercache.arguments.secret": "x"}, "x"},
		{"partly", map[string]string{"App.Cache.UserCache.backend": "tracked", "app.cache.usercache.expiration": "1h",
			"App.Cache.UserCache.arguments.id": "another case", "app.cache.usercache.arguments.secret": "x"}, "x"},
		{"the environment wins", map[string]string{"App.Cache.UserCache.backend": "null", "app.cache.usercache.backend": "tracked", "App.Cache.UserCache.expiration": "5h", "app.cache.usercache.expiration": "1h",
			"App.Cache.UserCache.arguments.ID": "wrong", "app.cache.usercache.arguments.id": "another case"}, ""},
		{"a setting with capitals", map[string]string{"App.Cache.UserCache.Backend": "tracked://?id=another+case", "App.Cache.UserCache.EXPIRATION_TIME": "3600"}, ""},
		{"shared", map[string]string{"App.Cache.UserCache.backend": "@Main", "App.Cache.UserCache.expiration": "1h", "App.Cache.backends.Main": "null",
			"app.cache.backends.main": "tracked", "app.cache.backends.main.arguments.id": "another case"}, ""},
		{"shared, in capitals throughout", map[string]string{"APP.CACHE.USERCACHE.BACKEND": "@MAIN", "APP.CACHE.USERCACHE.EXPIRATION": "1h",
			"APP.CACHE.BACKENDS.MAIN": "tracked", "APP.CACHE.BACKENDS.MAIN.ARGUMENTS.ID": "another case"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			opens := b.opens
			r := setUp(t, dogpile.Setup{Settings: row.settings, Prefix: "App.Cache."}, "UserCache")["UserCache"]
			if got := dogpile.OptionsOf(r).Expiration; got != time.Hour || b.opens != opens+1 || b.secret != row.secret {
				t.Errorf("expiration %v, opened %d times, secret %q", got, b.opens-opens, b.secret)
			}
		})
	}
}

func TestNamesThatDifferInCaseAlone(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"users.backend": "null", "Users.backend": "null", "users.expiration": "1h", "Users.expiration": "2h"}
	regions := setUp(t, dogpile.Setup{Settings: settings}, "users", "Users")
	for name, want := range map[string]time.Duration{"users": time.Hour, "Users": 2 * time.Hour} {
		if got := dogpile.OptionsOf(regions[name]).Expiration; got != want {
			t.Errorf("expiration of %s is %v, want %v", name, got, want)
		}
	}
	for _, row := range []struct {
		name     string
		settings map[string]string
		regions  []string
		want     []string
	}{
		{"ambiguous", map[string]string{"USERS.strict": "true", "users.backend": "null", "Users.backend": "null"}, []string{"users", "Users"},
			[]string{`USERS.strict: belongs to region "users" or "Users", whose names differ in case alone`}},
		{"a setting twice", map[string]string{"users.backend": "null", "users.Strict": "true", "users.STRICT": "true"}, []string{"users"},
			[]string{"users.Strict: is given twice, as users.STRICT too"}},
		{"an argument twice", map[string]string{"users.backend": "tracked", "users.arguments.Size": "1", "users.arguments.SIZE": "1"}, []string{"users"},
			[]string{"users.arguments.Size: is given twice, as users.arguments.SIZE too"}},
		{"a backend twice", map[string]string{"users.backend": "@main", "backends.MAIN": "null", "backends.Main": "null"}, []string{"users"},
			[]string{"backends.Main: is given twice, as backends.MAIN too"}},
		{"faults name keys as they are written", map[string]string{"users.BACKEND": "tracked", "users.Jitter": "2", "users.arguments.SIZE": "much", "Users.x": ""}, []string{"users"},
			[]string{"Users.x: is unknown", "users.Jitter: 2 is not", `users.arguments.SIZE: argument "size" is not a whole`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var regions []*dogpile.Region
			for _, name := range row.regions {
				regions = append(regions, dogpile.NewRegion(name))
			}
			checkLines(t, dogpile.Setup{Settings: row.settings}.Configure(t.Context(), regions...), row.want)
		})
	}
}

// TestStaleForOfZeroIsNone: nothing is returned past its expiration, whatever the zero
// value of Options means.
func TestStaleForOfZeroIsNone(t *testing.T) {
	for _, kind := range []string{"memory", "bytes"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := dogpile.Setup{Settings: map[string]string{"r.backend": "@main", "r.expiration": "1m", "r.stale_for": "0", "r.runner": "background"},
					Backends: map[string]driver.Backend{"main": kinds[kind](t)}}
				c := dogpile.NewCache[int](setUp(t, s, "r")["r"], nil)
				made := counting(time.Second)
				v, err := get(c, "k", made.create)()
				wantValue(t, "the first", v, err, 1)
				pass(59 * time.Second)
				v, err = get(c, "k", made.create)()
				wantValue(t, "before it expires", v, err, 1)
				pass(3 * time.Second)
				v, err = get(c, "k", made.create)()
				wantValue(t, "once it has expired", v, err, 2)
			})
		})
	}
}

// TestExpirationOfZeroIsAlwaysStale: as dogpile.cache has it, each call creates, and
// those that come meanwhile get the old value, however old.
func TestExpirationOfZeroIsAlwaysStale(t *testing.T) {
	for _, kind := range []string{"memory", "bytes"} {
		for _, key := range []string{"expiration", "expiration_time"} {
			t.Run(kind+" "+key, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := dogpile.Setup{Settings: map[string]string{"r.backend": "@main", "r." + key: "0"},
						Backends: map[string]driver.Backend{"main": kinds[kind](t)}}
					r := setUp(t, s, "r")["r"]
					c := dogpile.NewCache[int](r, nil)
					made := counting(time.Second)
					for want := 1; want <= 3; want++ {
						v, err := get(c, "k", made.create)()
						wantValue(t, "one call after another", v, err, want)
					}
					pass(1000 * time.Hour)
					a := start(get(c, "k", made.create))
					synctest.Wait()
					for _, b := range crowd(5, get(c, "k", made.create)) {
						got := <-b
						wantValue(t, "while another creates", got.v, got.err, 3)
					}
					got := <-a
					wantValue(t, "the creator", got.v, got.err, 4)
					if e, ok, err := c.Peek(t.Context(), "k"); !ok || err != nil || e.State != dogpile.Stale {
						t.Errorf("Peek = %v, %v, %v; want it stale", e, ok, err)
					}
					if _, ok, err := c.Get(t.Context(), "k"); ok || err != nil {
						t.Errorf("Get found a fresh one, %v", err)
					}
					if got := fmt.Sprint(r); !strings.HasSuffix(got, "expires at once") {
						t.Errorf("String = %q", got)
					}
				})
			})
		}
	}
}

// TestCheckKnowsTheRegionOfCopies: "near." in the settings of a region begins no other region's
// name.
func TestCheckKnowsTheRegionOfCopies(t *testing.T) {
	t.Parallel()
	s := dogpile.Setup{Prefix: "c.", Settings: map[string]string{
		"c.users.backend": "null", "c.users.near.lag": "2s", "c.users.near.max_bytes": "1000", "c.users.NEAR.max_entries": "7", "c.users.near.exact": "true",
	}}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if got := s.Warnings(); got != nil {
		t.Errorf("warnings %q", got)
	}
}

func TestCheckConfiguresNothing(t *testing.T) {
	t.Parallel()
	b := track("checked")
	good := map[string]string{"cache.a.backend": "@main", "cache.b.c.backend": "null", "cache.backends.main": "tracked", "cache.backends.main.arguments.id": "checked", "log": "x"}
	if err := (dogpile.Setup{Settings: good, Prefix: "cache."}).Check(t.Context()); err != nil || b.opens != 1 || b.closes() != 1 {
		t.Errorf("Check = %v; opened %d times, closed %d times", err, b.opens, b.closes())
	}
	bad := map[string]string{"cache.a.backend": "@mian", "cache.UserCache.expiration": "1h", "cache.usercache.jitter": "2", "cache.b.arguments.x.backend": "1", "cache.what": "", "cache.c.proxies": "nope"}
	checkLines(t, dogpile.Setup{Settings: bad, Prefix: "cache."}.Check(t.Context()), []string{
		"cache.UserCache.backend: is missing", `cache.a.backend: there is no shared backend "mian"`, "cache.b.backend: is missing",
		"cache.c.backend: is missing", `cache.c.proxies: unknown proxy "nope" (forgotten import?)`, "cache.usercache.jitter: 2 is not", "cache.what: belongs to no region"})
}
