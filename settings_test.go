package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"

	_ "github.com/dogpile-go/dogpile/backend/null"
)

// tracked is what the URL scheme of the same name opens. A test can find it by
// its id.
type tracked struct {
	plainBackend
	onOpen func()
	opens  int
	secret string // as it was given
}

func (b *tracked) closes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

var trackers sync.Map // by id

// track announces a tracked backend.
func track(id string) *tracked {
	b := new(tracked)
	trackers.Store(id, b)
	return b
}

var errOpen = errors.New("cannot connect")

func init() {
	driver.Register("tracked", func(_ context.Context, args *driver.Args) (driver.Backend, error) {
		id, secret, fail, size := args.String("id", ""), args.String("secret", ""), args.Bool("fail", false), args.Int("size", 0)
		args.Duration("timeout", 0)
		var contradiction error
		if args.String("password_file", "") != "" && secret != "" {
			contradiction = &driver.ArgError{Name: "password_file", Problem: "is given, and a secret too"}
		}
		if err := errors.Join(args.Err(), contradiction); err != nil {
			return nil, err
		}
		if fail {
			return nil, errOpen
		}
		b := new(tracked)
		if t, ok := trackers.Load(id); ok {
			b = t.(*tracked)
		}
		b.secret, b.caps = secret, driver.Caps{MaxKeyLen: size, Shared: size > 0}
		b.opens++
		if b.onOpen != nil {
			b.onOpen()
		}
		return b, nil
	})
	driver.RegisterProxy("test-outer", proxyNamed("outer"))
	driver.RegisterProxy("test-inner", proxyNamed("inner"))
	driver.RegisterProxy("test-nil", func(driver.Backend) driver.Backend { return nil })
	dogpile.RegisterCodec("test-codec", testCodec{})
	dogpile.RegisterMangler("test-mangler", strings.ToUpper)
	dogpile.RegisterInvalidator("test-invalidator", func() dogpile.Invalidator { return &testInvalidator{} })
}

func proxyNamed(name string) func(driver.Backend) driver.Backend {
	return func(b driver.Backend) driver.Backend { return &tagging{driver.Proxy{Backend: b}, name, new([]string)} }
}

type testCodec struct{ dogpile.Codec }

type testInvalidator struct{ dogpile.LocalInvalidator }

// configured returns a region configured from settings.
func configured(t *testing.T, settings map[string]string) *dogpile.Region {
	t.Helper()
	all := map[string]string{"c.backend": "tracked"}
	maps.Copy(all, settings)
	r := dogpile.NewRegion("users")
	if err := r.ConfigureFrom(t.Context(), all, "c."); err != nil {
		t.Fatalf("ConfigureFrom(%q) = %v", all, err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestSettings: settings are read as configure_from_config of dogpile.cache reads them,
// but never half. Each row is read by the type of its
// field.
func TestSettings(t *testing.T) {
	t.Parallel()
	for _, row := range settingRows {
		t.Run(row.key+"="+row.value, func(t *testing.T) {
			settings := map[string]string{"c." + row.key: row.value, "other.key": "not ours"}
			switch row.key { // what such a setting needs
			case "jitter":
				settings["c.expiration"] = "1h"
			case "invalidator", "invalidation_lag":
				settings["c.arguments.size"] = "100" // shared
			}
			r := configured(t, settings)
			got := reflect.ValueOf(dogpile.OptionsOf(r)).FieldByName(row.field)
			if row.want == nil {
				if !got.IsZero() {
					t.Errorf("%s = %v", row.field, got)
				}
			} else if !reflect.DeepEqual(got.Interface(), row.want) {
				t.Errorf("%s = %#v, want %#v", row.field, got, row.want)
			}
		})
	}
}

// settingRows are settings and the fields of Options that they set.
var settingRows = []struct {
	key, value, field string
	want              any
}{
	{"expiration", "1h", "Expiration", time.Hour},
	{"expiration", "90", "Expiration", 90 * time.Second},
	{"expiration", "0.25", "Expiration", 250 * time.Millisecond},
	{"expiration", " 1m30s ", "Expiration", 90 * time.Second},
	{"expiration", "-1", "Expiration", dogpile.Never},
	{"expiration", "never", "Expiration", dogpile.Never},
	{"expiration", "0", "Expiration", dogpile.NoTime},
	{"expiration", "1d12h", "Expiration", 36 * time.Hour},
	{"expiration_time", "0", "Expiration", dogpile.NoTime},
	{"expiration", "None", "Expiration", dogpile.Never},
	{"expiration", "", "Expiration", dogpile.Never},
	{"expiration_time", "3600", "Expiration", time.Hour},
	{"expiration_time", "None", "Expiration", dogpile.Never},
	{"stale_for", "30m", "StaleFor", 30 * time.Minute},
	{"stale_for", "never", "StaleFor", dogpile.Never},
	{"stale_for", "0", "StaleFor", dogpile.NoTime},
	{"stale_for", "0s", "StaleFor", dogpile.NoTime},
	{"stale_for", "None", "StaleFor", time.Duration(0)},
	{"stale_if_error", "5", "StaleIfError", 5 * time.Second},
	{"jitter", "0.1", "Jitter", .1},
	{"jitter", " .5 ", "Jitter", .5},
	{"jitter", "None", "Jitter", 0.},
	{"create_timeout", "5s", "CreateTimeout", 5 * time.Second},
	{"create_timeout", "-1", "CreateTimeout", dogpile.Never},
	{"create_timeout", "None", "CreateTimeout", 30 * time.Second},
	{"lock_ttl", "1.5", "LockTTL", 1500 * time.Millisecond},
	{"backend_timeout", "100ms", "BackendTimeout", 100 * time.Millisecond},
	{"invalidation_lag", "2", "InvalidationLag", 2 * time.Second},
	{"fail_for", "1.5", "FailFor", 1500 * time.Millisecond},
	{"refresh_ahead", ".8", "RefreshAhead", .8},
	{"refresh_ahead", "None", "RefreshAhead", 0.0},
	{"max_creators", "7", "MaxCreators", 7},
	{"retry_deletes", "1000", "RetryDeletes", 1000},
	{"max_creators", "007", "MaxCreators", 7},
	{"max_creators", "None", "MaxCreators", 0},
	{"prefix", "v2:", "Prefix", "v2:"},
	{"prefix", "0123", "Prefix", "0123"},
	{"prefix", "true", "Prefix", "true"},
	{"prefix", "none", "Prefix", ""},
	{"prefix", "None", "Prefix", "users:"},
	{"prefix", "", "Prefix", "users:"},
	{"strict", "true", "Strict", true},
	{"strict", "True", "Strict", true},
	{"strict", "1", "Strict", true},
	{"strict", "FALSE", "Strict", false},
	{"strict", "0", "Strict", false},
	{"strict", "None", "Strict", false},
	{"codec", "bytes", "Codec", dogpile.Bytes},
	{"codec", "test-codec", "Codec", testCodec{}},
	{"codec", "None", "Codec", dogpile.JSON},
	{"invalidator", "local", "Invalidator", new(dogpile.LocalInvalidator)},
	{"invalidator", "shared", "Invalidator", new(dogpile.SharedInvalidator)},
	{"invalidator", "test-invalidator", "Invalidator", new(testInvalidator)},
	{"runner", "none", "Runner", nil},
	{"runner", "None", "Runner", nil},
}

// TestEverySettableOptionHasASetting: a field of Options that is added later is a
// setting, or is known to be none.
func TestEverySettableOptionHasASetting(t *testing.T) {
	t.Parallel()
	// What no string can say.
	silent := []string{"KeyFunc", "Hooks", "Logger"}
	o := reflect.TypeFor[dogpile.Options]()
	for i := range o.NumField() {
		name := o.Field(i).Name
		key := "c." + dogpile.Snake(name)
		// None stands for a setting that is not set, and still has to be known.
		err := dogpile.NewRegion("r").ConfigureFrom(t.Context(), map[string]string{"c.backend": "null", key: "None"}, "c.")
		switch unknown := err != nil && strings.Contains(err.Error(), key+": is unknown"); {
		case slices.Contains(silent, name) && !unknown:
			t.Errorf("%s is said to be no setting, but %s = None is: %v", name, key, err)
		case !slices.Contains(silent, name) && err != nil:
			t.Errorf("%s is neither a setting nor in the list of what no string can say: %v", name, err)
		}
	}
}

func TestNamedSettings(t *testing.T) {
	t.Parallel()
	b := track("named")
	r := configured(t, map[string]string{"c.arguments.id": "named", "c.mangler": "test-mangler", "c.proxies": " test-outer, ,test-inner,", "c.runner": "background"})
	works(t, r)
	if got := b.keys(); !slices.Equal(got, []string{"USERS:WORKS"}) {
		t.Errorf("keys are %q", got)
	}
	outer, _ := r.Backend().(*tagging)
	if outer == nil || outer.tag != "outer" {
		t.Fatalf("Backend is %v", r.Backend())
	}
	if inner, ok := driver.As[*tagging](outer.Unwrap()); !ok || inner.tag != "inner" {
		t.Errorf("inside is %v", inner)
	}
	if dogpile.OptionsOf(r).Runner == nil {
		t.Error("there is no Runner")
	}
	one, two := configured(t, map[string]string{"c.invalidator": "test-invalidator"}), configured(t, map[string]string{"c.invalidator": "test-invalidator"})
	if dogpile.OptionsOf(one).Invalidator == dogpile.OptionsOf(two).Invalidator {
		t.Error("two regions have one invalidator")
	}
}

func TestArgumentsOfTheBackend(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		settings map[string]string
		want     string
	}{
		{"beside", map[string]string{"c.backend": "tracked", "c.arguments.id": "args1", "c.arguments.secret": "0123"}, "0123"},
		{"in the URL", map[string]string{"c.backend": "tracked://?id=args1&secret=true"}, "true"},
		{"both", map[string]string{"c.backend": "tracked://?id=args1", "c.arguments.secret": " None "}, " None "},
		{"not set", map[string]string{"c.backend": "tracked", "c.arguments.id": "args1", "c.arguments.secret": "None"}, ""},
		{"one that is not set, of two", map[string]string{"c.backend": "tracked", "c.arguments.id": "args1", "c.arguments.secret": "x", "c.arguments.password_file": "None"}, "x"},
		{"a number in words", map[string]string{"c.backend": "tracked", "c.arguments.id": "args1", "c.arguments.secret": "1e3"}, "1e3"},
		{"others are not ours", map[string]string{"c.backend": "tracked", "c.arguments.id": "args1", "arguments.secret": "no", "carguments.secret": "no"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := track("args1")
			configured(t, row.settings)
			if b.secret != row.want {
				t.Errorf("secret is %q, want %q", b.secret, row.want)
			}
		})
	}
}

// faultRow is settings with faults, and the lines of the error, sorted.
type faultRow struct {
	name     string
	settings map[string]string
	want     []string
}

var faultRows = []faultRow{
	{"nothing", map[string]string{}, []string{"c.backend: is missing"}},
	{"no backend", map[string]string{"c.backend": "None"}, []string{"c.backend: is missing"}},
	{"unknown scheme", map[string]string{"c.backend": "redsi://h"}, []string{`c.backend: dogpile: unknown backend "redsi"`}},
	{"malformed URL", map[string]string{"c.backend": "://h"}, []string{"c.backend: dogpile: malformed backend URL"}},
	{"cannot open", map[string]string{"c.backend": "tracked", "c.arguments.fail": "true"}, []string{"c.backend: dogpile: open tracked://: cannot connect"}},
	{"unknown key", map[string]string{"c.backend": "null", "c.expires": "1", "c.Strikt": "true", "c.": ""}, []string{"c.: is unknown", "c.Strikt: is unknown", "c.expires: is unknown"}},
	{"unknown arguments", map[string]string{"c.backend": "tracked://?colour=red", "c.arguments.sise": "1", "c.arguments.": "2"},
		[]string{`c.arguments.: argument "" is unknown`, `c.arguments.sise: argument "sise" is unknown`, `c.backend: argument "colour" is unknown`}},
	{"bad arguments", map[string]string{"c.backend": "tracked", "c.arguments.size": "much", "c.arguments.fail": "yes", "c.arguments.timeout": "soon"},
		[]string{`c.arguments.fail: argument "fail" is neither`, `c.arguments.size: argument "size" is not a whole number`, `c.arguments.timeout: argument "timeout" is neither`}},
	{"arguments that exclude each other", map[string]string{"c.backend": "tracked", "c.arguments.secret": "x", "c.arguments.password_file": "/x"},
		[]string{`c.arguments.password_file: argument "password_file" is given, and a secret too`}},
	{"in the URL, arguments that exclude each other", map[string]string{"c.backend": "tracked://?password_file=/x", "c.arguments.secret": "x"},
		[]string{`c.backend: argument "password_file" is given, and a secret too`}},
	{"unknown arguments and some that exclude each other", map[string]string{"c.backend": "tracked", "c.arguments.secret": "x", "c.arguments.password_file": "/x", "c.arguments.sise": "1", "c.arguments.colour": "red"},
		[]string{`c.arguments.colour: argument "colour" is unknown`, `c.arguments.password_file: argument "password_file" is given, and a secret too`, `c.arguments.sise: argument "sise" is unknown`}},
	{"letters that are longer in lower case", map[string]string{"c.backend": "null", "c.arguments." + strings.Repeat("Ⱥ", 30): "x"},
		[]string{"c.arguments." + strings.Repeat("Ⱥ", 30) + `: argument "` + strings.Repeat("Ⱥ", 30) + `" is unknown`}},
	{"an argument twice", map[string]string{"c.backend": "tracked://?size=1", "c.arguments.size": "1"}, []string{`c.arguments.size: argument "size" is given twice`}},
	{"durations", map[string]string{"c.backend": "null", "c.expiration": "soon", "c.stale_for": "1 h", "c.lock_ttl": "1_0", "c.create_timeout": "nan"},
		[]string{"c.create_timeout: neither a duration", "c.expiration: neither a duration", "c.lock_ttl: neither a duration", "c.stale_for: neither a duration"}},
	{"negative", map[string]string{"c.backend": "null", "c.expiration": "-5", "c.lock_ttl": "never", "c.max_creators": "-1", "c.retry_deletes": "-2", "c.stale_if_error": "-1s", "c.invalidation_lag": "-1"},
		[]string{"c.expiration: -5s is negative", "c.invalidation_lag: cannot be Never", "c.lock_ttl: cannot be Never", "c.max_creators: -1 is negative", "c.retry_deletes: -2 is negative", "c.stale_if_error: -1s is negative"}},
	{"numbers", map[string]string{"c.backend": "null", "c.jitter": "much", "c.max_creators": "1.5", "c.strict": "yes", "c.replace_existing_backend": "on"},
		[]string{"c.jitter: is not a number", "c.max_creators: is not a whole number", "c.replace_existing_backend: is neither true nor false", "c.strict: is neither true nor false"}},
	{"jitter out of range", map[string]string{"c.backend": "null", "c.jitter": "nan"}, []string{"c.jitter: NaN is not from 0"}},
	{"names", map[string]string{"c.backend": "null", "c.mangler": "md5", "c.codec": "gob", "c.invalidator": "me", "c.proxies": "x,test-inner,y", "c.runner": "foreground"},
		[]string{`c.codec: unknown codec "gob" (forgotten import?); known: bytes, `, `c.invalidator: unknown invalidator "me" (forgotten import?); known: local, shared, `, `c.mangler: unknown mangler "md5" (forgotten import?); known: sha1, sha256, `,
			`c.proxies: unknown proxy "x" (forgotten import?); known: `, `c.proxies: unknown proxy "y" (forgotten import?); known: `, "c.runner: is neither background nor none"}},
	{"an option under two names", map[string]string{"c.backend": "null", "c.expiration": "1", "c.expiration_time": "1"}, []string{"c.expiration_time: is given twice"}},
	{"options that exclude each other", map[string]string{"c.backend": "tracked", "c.arguments.size": "100", "c.invalidator": "local", "c.invalidation_lag": "1"}, []string{"c.invalidation_lag: only a SharedInvalidator has"}},
	{"proxy that returns nil", map[string]string{"c.backend": "null", "c.proxies": "test-inner,test-nil"}, []string{"c.proxies: element 1 returned nil"}},
	{"reserved prefix", map[string]string{"c.backend": "null", "c.prefix": "_lock"}, []string{`c.prefix: "_lock" begins`}},
	{"of every kind", map[string]string{"c.backend": "tracked", "c.arguments.colour": "red", "c.prefix": "_inv:", "c.jitter": "2", "c.strict": "maybe", "c.expiration": "?", "c.what": "ever"},
		[]string{`c.arguments.colour: argument "colour" is unknown`, "c.expiration: neither", "c.jitter: 2 is not from 0", `c.prefix: "_inv:" begins`, "c.strict: is neither", "c.what: is unknown"}},
}

func TestFaultsInSettings(t *testing.T) {
	t.Parallel()
	for _, row := range faultRows {
		t.Run(row.name, func(t *testing.T) {
			r := dogpile.NewRegion("users")
			err := r.ConfigureFrom(t.Context(), row.settings, "c.")
			checkLines(t, err, row.want)
			if r.Configured() {
				t.Error("the region is configured")
			}
			if err := r.ConfigureFrom(t.Context(), map[string]string{"backend": "null"}, ""); err != nil {
				t.Errorf("good settings afterwards: %v", err)
			}
		})
	}
}

// checkLines checks that an error of settings has one line for each of want,
// which they begin with.
func checkLines(t *testing.T, err error, want []string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	text, ok := strings.CutPrefix(err.Error(), "dogpile: settings: ")
	lines := strings.Split(text, "\n")
	if !ok || len(lines) != len(want) {
		t.Fatalf("error is %v\nwant %q", err, want)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("line %d is %q, want %q", i, line, want[i])
		}
	}
}

func TestSettingsAreNotChanged(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"c.backend": " null ", "c.expiration": "1", "c.nonsense": "", "other": "x"}
	given := maps.Clone(settings)
	if err := dogpile.NewRegion("r").ConfigureFrom(t.Context(), settings, "c."); err == nil || !maps.Equal(settings, given) {
		t.Errorf("%v; settings are %q", err, settings)
	}
}

func TestBackendFromSettingsIsClosed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	t.Run("with the region", func(t *testing.T) {
		b := track("closed with the region")
		r := dogpile.NewRegion("r")
		if err := r.ConfigureFrom(ctx, map[string]string{"backend": "tracked", "arguments.id": "closed with the region"}, ""); err != nil || b.closes() != 0 {
			t.Fatalf("ConfigureFrom = %v; closed %d times", err, b.closes())
		}
		for range 2 {
			if err := r.Close(ctx); err != nil || b.closes() != 1 {
				t.Errorf("Close = %v; closed %d times", err, b.closes())
			}
		}
	})
	t.Run("replaced, with the region", func(t *testing.T) {
		one, two := track("replaced"), track("replacing")
		r := dogpile.NewRegion("r")
		err1 := r.ConfigureFrom(ctx, map[string]string{"backend": "tracked", "arguments.id": "replaced"}, "")
		err2 := r.ConfigureFrom(ctx, map[string]string{"backend": "tracked", "arguments.id": "replacing", "replace_existing_backend": "true"}, "")
		if err := errors.Join(err1, err2); err != nil || r.Backend() != driver.Backend(two) {
			t.Fatalf("ConfigureFrom = %v", err)
		}
		if err := r.Close(ctx); err != nil || one.closes() != 1 || two.closes() != 1 {
			t.Errorf("Close = %v; closed %d and %d times", err, one.closes(), two.closes())
		}
	})
	for name, settings := range map[string]map[string]string{
		"an option is bad":       {"jitter": "2"},
		"a key is unknown":       {"nonsense": ""},
		"a proxy returns nil":    {"proxies": "test-nil"},
		"the prefix is bad":      {"prefix": "_lock"},
		"the token key is long":  {"arguments.size": "3"},
		"the region is in use":   nil,
		"the region was closed ": nil,
	} {
		t.Run(name, func(t *testing.T) {
			b := track(name)
			r := dogpile.NewRegion("r")
			switch name {
			case "the region is in use":
				if err := r.Configure(new(plainBackend), nil); err != nil {
					t.Fatal(err)
				}
			case "the region was closed ":
				if err := r.Close(ctx); err != nil {
					t.Fatal(err)
				}
			}
			all := map[string]string{"backend": "tracked", "arguments.id": name}
			maps.Copy(all, settings)
			if err := r.ConfigureFrom(ctx, all, ""); err == nil || b.closes() != 1 {
				t.Errorf("ConfigureFrom = %v; closed %d times", err, b.closes())
			}
		})
	}
}

func TestConfigureFromTwice(t *testing.T) {
	t.Parallel()
	r := configured(t, nil)
	first := r.Backend()
	err := r.ConfigureFrom(t.Context(), map[string]string{"backend": "null"}, "")
	if !errors.Is(err, dogpile.ErrConfigured) || !strings.HasSuffix(err.Error(), `"users": region is already configured; Reconfigure replaces its backend, and so does replace_existing_backend = true`) || r.Backend() != first {
		t.Errorf("second ConfigureFrom = %v", err)
	}
	err = r.ConfigureFrom(t.Context(), map[string]string{"backend": "null", "replace_existing_backend": "true"}, "")
	if err != nil || r.Backend() == first {
		t.Errorf("with replace_existing_backend: %v", err)
	}
}

func TestConfigureAll(t *testing.T) {
	t.Parallel()
	users, rates := dogpile.NewRegion("users"), dogpile.NewRegion("rates")
	settings := map[string]string{
		"cache.users.backend": "null", "cache.users.expiration": "1h",
		"cache.rates.backend": "tracked", "cache.rates.arguments.id": "all", "cache.rates.prefix": "r/",
		"log.level": "debug", "cache": "x", "cacheusers.backend": "x",
	}
	if err := dogpile.ConfigureAll(t.Context(), settings, "cache.", users, rates); err != nil {
		t.Fatal(err)
	}
	if u, r := dogpile.OptionsOf(users), dogpile.OptionsOf(rates); u.Expiration != time.Hour || u.Prefix != "users:" || r.Expiration != dogpile.Never || r.Prefix != "r/" {
		t.Errorf("users: %+v\nrates: %+v", u, r)
	}
	if err := dogpile.ConfigureAll(t.Context(), settings, "cache."); err == nil {
		t.Error("settings that belong to no region are no fault")
	}
	if err := dogpile.ConfigureAll(t.Context(), map[string]string{"log.level": "debug"}, "cache."); err != nil {
		t.Errorf("no settings and no regions: %v", err)
	}
}

func TestConfigureAllOrNone(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	good := func(t *testing.T, name string) (map[string]string, *tracked) {
		id := t.Name() + name
		return map[string]string{name + ".backend": "tracked", name + ".arguments.id": id}, track(id)
	}
	inUse := dogpile.NewRegion("inuse")
	if err := inUse.Configure(new(plainBackend), nil); err != nil {
		t.Fatal(err)
	}
	nameless := new(dogpile.Region)
	for _, row := range []struct {
		name     string
		settings map[string]string
		regions  []*dogpile.Region
		want     []string
	}{
		{"faults in two", map[string]string{"b.backend": "null", "b.jitter": "2", "c.backend": "nul", "c.what": ""}, []*dogpile.Region{dogpile.NewRegion("b"), dogpile.NewRegion("c")},
			[]string{"b.jitter: 2 is not", `c.backend: dogpile: unknown backend "nul"`, "c.what: is unknown"}},
		{"no settings for one", nil, []*dogpile.Region{dogpile.NewRegion("b")}, []string{"b.backend: is missing"}},
		{"settings for none", map[string]string{"b.backend": "null", "x": "1"}, nil, []string{"b.backend: belongs to no region", "x: belongs to no region"}},
		{"one is in use", map[string]string{"inuse.backend": "null"}, []*dogpile.Region{inUse}, []string{`region "inuse": ` + dogpile.ErrConfigured.Error()}},
		{"one has no name", nil, []*dogpile.Region{nameless}, []string{`region "": settings need regions with names that differ`}},
		{"two have one name", map[string]string{"b.backend": "null"}, []*dogpile.Region{dogpile.NewRegion("b"), dogpile.NewRegion("b")}, []string{`region "b": settings need regions with names that differ`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			settings, b := good(t, "a")
			maps.Copy(settings, row.settings)
			a := dogpile.NewRegion("a")
			before := slices.Clone(row.regions)
			err := dogpile.ConfigureAll(ctx, settings, "", append(before, a)...)
			checkLines(t, err, row.want)
			if a.Configured() || b.closes() != b.opens {
				t.Errorf("the good region is configured: %v; its backend was opened %d times and closed %d times", a.Configured(), b.opens, b.closes())
			}
			for _, r := range row.regions {
				if r != inUse && r.Configured() {
					t.Errorf("region %q is configured", r.Name())
				}
			}
		})
	}
}

func TestConfigureAllWithNamesThatNest(t *testing.T) {
	t.Parallel()
	outer, inner := dogpile.NewRegion("users"), dogpile.NewRegion("users.admin")
	settings := map[string]string{"users.backend": "null", "users.admin.backend": "null", "users.admin.expiration": "1"}
	if err := dogpile.ConfigureAll(t.Context(), settings, "", outer, inner); err != nil {
		t.Errorf("ConfigureAll = %v", err)
	}
}

func TestRegistriesPanic(t *testing.T) {
	t.Parallel()
	invalidator := func() dogpile.Invalidator { return new(dogpile.LocalInvalidator) }
	for name, register := range map[string]func(){
		"codec x is registered as nil":                     func() { dogpile.RegisterCodec("x", nil) },
		"codec json is registered twice":                   func() { dogpile.RegisterCodec("json", dogpile.JSON) },
		"codec is registered without a name":               func() { dogpile.RegisterCodec("", dogpile.JSON) },
		"mangler x is registered as nil":                   func() { dogpile.RegisterMangler("x", nil) },
		"mangler sha1 is registered twice":                 func() { dogpile.RegisterMangler("sha1", dogpile.SHA1) },
		"mangler is registered without a name":             func() { dogpile.RegisterMangler("", dogpile.SHA1) },
		"proxy x is registered as nil":                     func() { driver.RegisterProxy("x", nil) },
		"proxy test-inner is registered twice":             func() { driver.RegisterProxy("test-inner", same) },
		"proxy is registered without a name":               func() { driver.RegisterProxy("", same) },
		"invalidator x is registered as nil":               func() { dogpile.RegisterInvalidator("x", nil) },
		"invalidator local is registered twice":            func() { dogpile.RegisterInvalidator("local", invalidator) },
		"invalidator is registered without a name":         func() { dogpile.RegisterInvalidator("", invalidator) },
		"invalidator test-invalidator is registered twice": func() { dogpile.RegisterInvalidator("test-invalidator", invalidator) },
	} {
		if got := fmt.Sprint(panicOf(register)); got != "dogpile: "+name {
			t.Errorf("panic %q, want %q", got, name)
		}
	}
	if err := dogpile.NewRegion("r").ConfigureFrom(t.Context(), map[string]string{"backend": "null", "proxies": "x"}, ""); err == nil {
		t.Error("what panicked is registered")
	}
}

// FuzzSettingsSecrets: wherever a secret stands among the settings, no error
// shows it.
func FuzzSettingsSecrets(f *testing.F) {
	for _, tail := range []string{"", "/x", "?x", "#x", "@x", ":x", "%x", "&x=1", " x", ",x", "://x", "\n"} {
		f.Add(tail)
	}
	f.Fuzz(func(t *testing.T, tail string) {
		secret := "s3C" + tail
		for _, settings := range []map[string]string{
			{"c.backend": "tracked://u:" + secret + "@host/0", "c.arguments.fail": "true"},
			{"c.backend": "tracked://u:" + secret + "@host/0", "c.nonsense": "1"},
			{"c.backend": "other://u:" + secret + "@host/0"},
			{"c.backend": "://u:" + secret + "@host/0"},
			{"c.backend": "tracked:" + secret},
			{"c.backend": "tracked", "c.arguments.secret": secret, "c.arguments.fail": "true"},
			{"c.backend": "tracked", "c.arguments.secret": secret, "c.jitter": "2"},
			{"c.backend": "tracked", "c.arguments.password": secret},
			{"c.backend": "tracked", "c.arguments.size": secret, "c.arguments.timeout": secret, "c.arguments.fail": secret},
			{"c.backend": "tracked://?password=" + secret, "c.password": secret},
			{"c.backend": "tracked", "c.expiration": secret, "c.jitter": secret, "c.max_creators": secret, "c.strict": secret, "c.runner": secret},
		} {
			for name, configure := range map[string]func() error{
				"ConfigureFrom": func() error { return dogpile.NewRegion("r").ConfigureFrom(context.Background(), settings, "c.") },
				"ConfigureAll":  func() error { return dogpile.ConfigureAll(context.Background(), settings, "", dogpile.NewRegion("c")) },
			} {
				err := configure()
				if err == nil {
					t.Fatalf("%s(%q) did not fail", name, settings)
				}
				if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "s3C") {
					t.Errorf("%s(%q) shows it: %v", name, settings, err)
				}
			}
		}
	})
}
