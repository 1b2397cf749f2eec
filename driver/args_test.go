package driver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// argsOf returns the Args that an Opener gets for a URL "x…".
func argsOf(t *testing.T, rawURL string, more map[string]string) *driver.Args {
	t.Helper()
	var args *driver.Args
	opened(func(a *driver.Args) error { args = a; return nil })
	if _, err := driver.OpenWith(t.Context(), rawURL, more); err != nil {
		t.Fatalf("OpenWith(%q) = %v", rawURL, err)
	}
	return args
}

func TestURL(t *testing.T) {
	for _, row := range []struct {
		url                string
		user, secret, path string
		hosts              []string
	}{
		{"x", "", "", "", nil},
		{"x://", "", "", "", nil},
		{" X:// ", "", "", "", nil},
		{"x://localhost", "", "", "", []string{"localhost"}},
		{"x://127.0.0.1:6379/0", "", "", "/0", []string{"127.0.0.1:6379"}},
		{"x://[::1]:6379/0", "", "", "/0", []string{"[::1]:6379"}},
		{"x://a:1,b,c:3/path/to", "", "", "/path/to", []string{"a:1", "b", "c:3"}},
		{"x://a, b,,", "", "", "", []string{"a", "b"}},
		{"x:///var/cache", "", "", "/var/cache", nil},
		{"x://user@host", "user", "", "", []string{"host"}},
		{"x://:pw@host", "", "pw", "", []string{"host"}},
		{"x://user:p%40w%3A%2F@host", "user", "p@w:/", "", []string{"host"}},
		{"x://user:p:w@host", "user", "p:w", "", []string{"host"}},
		{"x://user:p@w@host", "user", "p@w", "", []string{"host"}},
		{"x://u%25:+@a,b?n=1", "u%", "+", "", []string{"a", "b"}},
		{"x:///run/my%20app/a%25b%3F%2C%40%2A.sock", "", "", "/run/my app/a%b?,@*.sock", nil},
		{"x:///run/my app/a+b.sock", "", "", "/run/my app/a+b.sock", nil},
	} {
		t.Run(row.url, func(t *testing.T) {
			a := argsOf(t, row.url, nil)
			if a.Scheme != "x" || a.User != row.user || a.Password != row.secret || a.Path != row.path || !slices.Equal(a.Hosts, row.hosts) {
				t.Errorf("scheme %q, user %q, password %q, hosts %q, path %q", a.Scheme, a.User, a.Password, a.Hosts, a.Path)
			}
		})
	}
}

func TestMalformedURL(t *testing.T) {
	for _, row := range []struct{ url, want string }{
		{"", "begins with no scheme"},
		{"://host", "begins with no scheme"},
		{"x:secret", "begins with no scheme"},
		{"x:/secret", "begins with no scheme"},
		{"1x://secret", "begins with no scheme"},
		{"x y://secret", "begins with no scheme"},
		{"secret@host:6379", "begins with no scheme"},
		{"x://u:sec#ret@host", "%23"},
		{"x://u:sec%ret@host", "%25"},
		{"x://u%zz:secret@host", "%25"},
		{"x://host/100%secret", "%25"},
		{"x://host?secret;n=1", "name=value"},
		{"x://host?n=%zzsecret", "name=value"},
		{"x://u:se/cret@host/0", "malformed x URL"},
		{"x://u:se?cret@host/0", "malformed x URL"},
		{"x://u:s@e/cret@host/0", "malformed x URL"},
		{"x://u:s@e?cret@host/0", "malformed x URL"},
		{"x://u:se?c=ret@host/0", "malformed x URL"},
	} {
		t.Run(row.url, func(t *testing.T) {
			opened(func(*driver.Args) error { return errors.New("the backend is down") })
			_, err := driver.Open(t.Context(), row.url)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("Open = %v, want %q", err, row.want)
			}
			for _, part := range []string{"secret", "cret", "ret@", "se/", "se?", "u:se"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("the error shows %q: %v", part, err)
				}
			}
		})
	}
}

// typed reads an argument as every type, for the rows below.
type typed struct {
	String   string
	Int      int
	Bool     bool
	Duration time.Duration
}

var unset = typed{"def", -7, true, time.Hour}

func TestArguments(t *testing.T) {
	const noInt, noBool, noDuration = "is not a whole number", "is neither true nor false", "is neither a duration"
	for _, row := range []struct {
		value  string
		want   typed
		faults string
	}{
		{"", typed{"", -7, true, time.Hour}, "int bool duration"},
		{"None", unset, ""},
		{" None ", typed{" None ", -7, true, time.Hour}, ""},
		{"none", typed{"none", -7, true, time.Hour}, "int bool duration"},
		{"0123", typed{"0123", 123, true, 123 * time.Second}, "bool"},
		{"1", typed{"1", 1, true, time.Second}, ""},
		{"0", typed{"0", 0, false, 0}, ""},
		{"-1", typed{"-1", -1, true, -1}, "bool"},
		{" 30 ", typed{" 30 ", 30, true, 30 * time.Second}, "bool"},
		{"1.5", typed{"1.5", -7, true, 1500 * time.Millisecond}, "int bool"},
		{"1e3", typed{"1e3", -7, true, 1000 * time.Second}, "int bool"},
		{"TRUE", typed{"TRUE", -7, true, time.Hour}, "int duration"},
		{"False", typed{"False", -7, false, time.Hour}, "int duration"},
		{"yes", typed{"yes", -7, true, time.Hour}, "int bool duration"},
		{"0x10", typed{"0x10", -7, true, time.Hour}, "int bool duration"},
		{"1_000", typed{"1_000", -7, true, time.Hour}, "int bool duration"},
		{"1m30s", typed{"1m30s", -7, true, 90 * time.Second}, "int bool"},
		{"64MiB", typed{"64MiB", 64 << 20, true, time.Hour}, "bool duration"},
		{"2 KiB", typed{"2 KiB", 2048, true, time.Hour}, "bool duration"},
		{"1GiB", typed{"1GiB", 1 << 30, true, time.Hour}, "bool duration"},
		{"5KiBMiB", typed{"5KiBMiB", -7, true, time.Hour}, "int bool duration"},
		{"5MiBKiB", typed{"5MiBKiB", -7, true, time.Hour}, "int bool duration"},
		{"9223372036854775808", typed{"9223372036854775808", -7, true, time.Hour}, "large bool duration"},
		{"9007199254740992GiB", typed{"9007199254740992GiB", -7, true, time.Hour}, "large bool duration"},
		{"-9007199254740992GiB", typed{"-9007199254740992GiB", -7, true, time.Hour}, "large bool duration"},
	} {
		t.Run(row.value, func(t *testing.T) {
			for range 10 { // what depends on the order of a map shows
				a := argsOf(t, "x", map[string]string{"a": row.value})
				got := typed{a.String("a", unset.String), a.Int("a", unset.Int), a.Bool("a", unset.Bool), a.Duration("a", unset.Duration)}
				if got != row.want {
					t.Fatalf("got %+v, want %+v", got, row.want)
				}
				var want []string
				for fault := range strings.FieldsSeq(row.faults) {
					want = append(want, fmt.Sprintf("argument %q %s", "a", map[string]string{
						"int": noInt, "bool": noBool, "duration": noDuration, "large": "is too large"}[fault]))
				}
				checkFaults(t, a.Err(), want)
			}
		})
	}
}

// checkFaults checks that err is one *ArgError for each of want, which begin as
// told, whatever their order.
func checkFaults(t *testing.T, err error, want []string) {
	t.Helper()
	if len(want) == 0 {
		if err != nil {
			t.Fatalf("Err = %v", err)
		}
		return
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("Err = %v, want %q", err, want)
	}
	got := joined.Unwrap()
	for _, w := range want {
		if !slices.ContainsFunc(got, func(e error) bool {
			var ae *driver.ArgError
			return errors.As(e, &ae) && strings.HasPrefix(e.Error(), w)
		}) {
			t.Fatalf("Err = %v, want %q", err, want)
		}
	}
	if len(got) != len(want) || !slices.IsSortedFunc(got, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) }) {
		t.Fatalf("Err = %v, want %d faults in alphabetical order", err, len(want))
	}
}

func TestIntsUpToTheSizeOfAnInt(t *testing.T) {
	const most = math.MaxInt >> 30 // GiB
	for _, row := range []struct {
		value string
		want  int
		fault string
	}{
		{fmt.Sprint(math.MaxInt), math.MaxInt, ""},
		{fmt.Sprint(math.MinInt), math.MinInt, ""},
		{fmt.Sprint(uint(math.MaxInt) + 1), -7, "is too large"},
		{fmt.Sprintf("%dGiB", most), most << 30, ""},
		{fmt.Sprintf("%dGiB", most+1), -7, "is too large"},
		{fmt.Sprintf("%dGiB", -most-2), -7, "is too large"},
	} {
		t.Run(row.value, func(t *testing.T) {
			a := argsOf(t, "x", map[string]string{"a": row.value})
			if got := a.Int("a", -7); got != row.want {
				t.Errorf("got %d, want %d", got, row.want)
			}
			if err := a.Err(); (err != nil) != (row.fault != "") || err != nil && !strings.HasSuffix(err.Error(), row.fault) {
				t.Errorf("Err = %v, want %q", err, row.fault)
			}
		})
	}
}

func TestArgumentsThatAreNotGiven(t *testing.T) {
	a := argsOf(t, "x", nil)
	got := typed{a.String("a", unset.String), a.Int("a", unset.Int), a.Bool("a", unset.Bool), a.Duration("a", unset.Duration)}
	if got != unset || a.Strings("a") != nil || a.Err() != nil {
		t.Errorf("got %+v, %q, %v", got, a.Strings("a"), a.Err())
	}
}

func TestStrings(t *testing.T) {
	a := argsOf(t, "x://?h=a,b&h=+c+,,&one=1", map[string]string{"k": "d, e"})
	if got := a.Strings("h"); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("h = %q", got)
	}
	if got := a.Strings("k"); !slices.Equal(got, []string{"d", "e"}) {
		t.Errorf("k = %q", got)
	}
	own := a.Strings("one")
	own[0] = "changed"
	if got := a.Strings("one"); got[0] != "1" || a.Err() != nil {
		t.Errorf("one = %q, %v", got, a.Err())
	}
}

func TestAllFaultsAreReportedTogether(t *testing.T) {
	a := argsOf(t, "x://?n=many&b=perhaps&twice=1&twice=2&both=1&unknown=secret", map[string]string{"both": "2", "more": "secret", "d": "soon"})
	a.Int("n", 0)
	a.Bool("b", false)
	a.Duration("d", 0)
	a.String("twice", "")
	a.String("both", "")
	a.String("absent", "")
	want := `argument "b" is neither true nor false
argument "both" is given twice, in the URL and outside it
argument "d" is neither a duration like "1m30s" or "2d" nor a number of seconds
argument "more" is unknown
argument "n" is not a whole number
argument "twice" is given twice
argument "unknown" is unknown`
	if err := a.Err(); err == nil || err.Error() != want {
		t.Errorf("Err = %v", err)
	}
	if err := a.Err(); err == nil || err.Error() != want {
		t.Errorf("asked again, Err = %v", err)
	}
}

func TestFaultsAreReportedOnce(t *testing.T) {
	a := argsOf(t, "x://?twice=1&twice=2&n=many", nil)
	for range 3 {
		a.String("twice", "")
		a.Int("n", 0)
	}
	if want := "argument \"n\" is not a whole number\nargument \"twice\" is given twice"; a.Err() == nil || a.Err().Error() != want {
		t.Errorf("Err = %v", a.Err())
	}
}

func TestArgsDoNotShowSecrets(t *testing.T) {
	a := argsOf(t, "x://us3r:pa55@host1,host2:2/0?token=t0ken", map[string]string{"key": "k3y"})
	holder := struct{ A *driver.Args }{a}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("opened", "args", a)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("opened", "args", a, "nested", holder)
	for name, s := range map[string]string{
		"%v": fmt.Sprintf("%v", a), "%+v": fmt.Sprintf("%+v", a), "%#v": fmt.Sprintf("%#v", a), "%s": fmt.Sprintf("%s", a), "%q": fmt.Sprintf("%q", a),
		"in a struct": fmt.Sprintf("%+v", holder), "by value": fmt.Sprintf("%+v", *a), "log": logged.String(),
	} {
		for _, secret := range []string{"us3r", "pa55", "t0ken", "k3y"} {
			if strings.Contains(s, secret) {
				t.Errorf("%s shows %s: %s", name, secret, s)
			}
		}
		if name != "log" && !strings.Contains(s, "x://host1,host2:2/0") {
			t.Errorf("%s is %s", name, s)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for _, row := range []struct {
		s    string
		want time.Duration
		ok   bool
	}{
		{"1h30m", 90 * time.Minute, true},
		{"500ms", 500 * time.Millisecond, true},
		{" 1s\n", time.Second, true},
		{"0", 0, true},
		{"60", time.Minute, true},
		{"0060", time.Minute, true},
		{".5", 500 * time.Millisecond, true},
		{"5.", 5 * time.Second, true},
		{"1.0000000005", time.Second + 1, true},
		{"1e-9", 1, true},
		{"+2", 2 * time.Second, true},
		{"-1", -1, true},
		{"never", -1, true},
		{"Never", -1, true},
		{"-1s", -time.Second, true},
		{"-2", -2 * time.Second, true},
		{"9e9", 9e9 * time.Second, true},
		{"1e10", 0, false},
		{"-1e10", 0, false},
		{"inf", 0, false},
		{"-Infinity", 0, false},
		{"NaN", 0, false},
		{"", 0, false},
		{"NEVER", 0, false},
		{"1 h", 0, false},
		{"1d", 24 * time.Hour, true},
		{"1d12h", 36 * time.Hour, true},
		{"12h1d", 36 * time.Hour, true},
		{"2w", 14 * 24 * time.Hour, true},
		{"1w1d1h1m1s1ms", 8*24*time.Hour + time.Hour + time.Minute + time.Second + time.Millisecond, true},
		{"1.5d", 36 * time.Hour, true},
		{".5w", 84 * time.Hour, true},
		{"-1d1h", -25 * time.Hour, true},
		{"106751d", 106751 * 24 * time.Hour, true},
		{"106752d", 0, false},
		{"xd", 0, false},
		{"1dd", 0, false},
		{"1d1", 0, false},
		{"1.2.3d", 0, false},
		{"0x1d", 0, false},
		{"1_0d", 0, false},
		{"1 d", 0, false},
		{"1D", 0, false},
		{"0x10", 0, false},
		{"1_000", 0, false},
		{"1,5", 0, false},
		{"None", 0, false},
	} {
		t.Run(row.s, func(t *testing.T) {
			got, err := driver.ParseDuration(row.s)
			if got != row.want || (err == nil) != row.ok {
				t.Errorf("= %v, %v; want %v", got, err, row.want)
			}
			if err != nil && row.s != "" && strings.Contains(err.Error(), row.s) {
				t.Errorf("the error quotes the value: %v", err)
			}
		})
	}
}

// FuzzSecrets: whatever a password looks like and wherever it stands, no error
// of Open shows it.
func FuzzSecrets(f *testing.F) {
	for _, secret := range []string{"s3cret", "a/b", "a?b", "a#b", "a@b", "a:b", "a%b", "a&b=c", "a;b", "a b", "a,b", "%zz", "pässword", "//", "ab://cd", "\x00\x01"} {
		f.Add(secret)
	}
	f.Fuzz(func(t *testing.T, tail string) {
		secret := "s3C" + tail // like nothing else in the messages
		for _, url := range []string{
			"x://user:" + secret + "@host/0", "x://:" + secret + "@host", "x://" + secret + "@host", "other://user:" + secret + "@host",
			"x:" + secret, "x:/" + secret, "x://host?password=" + secret, "x://host?n=1&password=" + secret, "x://a,u:" + secret + "@b",
		} {
			for _, more := range []map[string]string{nil, {"password": secret}, {"n": secret, "d": secret, "b": secret}} {
				opened(func(a *driver.Args) error {
					a.Int("n", 0)
					a.Bool("b", false)
					a.Duration("d", 0)
					return errors.Join(a.Err(), errDown)
				})
				_, err := driver.OpenWith(context.Background(), url, more)
				if err == nil {
					t.Fatalf("OpenWith(%q, %q) did not fail", url, more)
				}
				if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "s3C") {
					t.Errorf("OpenWith(%q, %q) shows it: %v", url, more, err)
				}
			}
		}
	})
}
