package driver

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Args is what a URL says about a backend, for its [Opener]:
//
//	scheme://user:password@host1:port,host2/path?name=value
//
// User, Password and Path are unescaped: "%20" has become a space.
//
// Each argument is read by a method that knows its type; one that was given and
// never read counts as unknown. Names are compared with their case, and without
// it where none is written just so. [Args.Err] reports all faults together. An
// Args is used by one goroutine. Printed or logged it shows scheme, hosts and path
// alone.
type Args struct {
	Scheme   string
	User     string
	Password string
	Hosts    []string // as written, "host" or "host:port"; empty for none
	Path     string   // what follows the hosts, with its leading slash

	values map[string][]string
	read   map[string]bool
	faults []error
}

// An ArgError is a fault of one argument; [Args.Err] joins them. It does not
// show the value.
type ArgError struct {
	Name    string // of the argument
	Problem string // "is not a whole number"
}

// Error names the argument and never shows its value.
func (e *ArgError) Error() string { return fmt.Sprintf("argument %q %s", e.Name, e.Problem) }

func parseArgs(rawURL string, more map[string]string) (*Args, error) {
	scheme, rest, hasRest := strings.Cut(strings.TrimSpace(rawURL), "://")
	if !hasRest && strings.Contains(scheme, ":") || !legalScheme(strings.ToLower(scheme)) {
		return nil, errors.New("dogpile: malformed backend URL: it begins with no scheme, as in memory://")
	}
	a := &Args{Scheme: strings.ToLower(scheme), values: map[string][]string{}, read: map[string]bool{}}
	if err := a.parseRest(rest); err != nil {
		return nil, fmt.Errorf("dogpile: malformed %s URL: %w", a.Scheme, err)
	}
	for name, value := range more {
		if _, twice := a.values[name]; twice {
			a.fault(name, "is given twice, in the URL and outside it")
		}
		a.values[name] = []string{value}
	}
	return a, nil
}

// parseRest takes apart what follows "scheme://". url.Parse would not do: its
// errors quote the URL, and it refuses a list of hosts with ports.
func (a *Args) parseRest(rest string) error {
	if strings.Contains(rest, "#") {
		return errors.New("a # has to be written as %23")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	// A host has no @, but a password that was not escaped may have one: the last
	// @ ends it.
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, password, _ := strings.Cut(authority[:i], ":")
		var err1, err2 error
		a.User, err1 = url.PathUnescape(user)
		a.Password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil {
			return errors.New("user or password has a % that begins no escape; write it as %25")
		}
		authority = authority[i+1:]
	}
	if strings.Contains(path+query, "@") {
		// The @ may end a password with an unescaped / or ? in it. The first part of
		// that password would then stand among the hosts, and errors show hosts.
		return errors.New("an @ comes after the hosts; write it as %40, and / and ? in a password as %2F and %3F")
	}
	var err error
	if a.Path, err = url.PathUnescape(path); err != nil {
		return errors.New("the path has a % that begins no escape; write it as %25")
	}
	for host := range strings.SplitSeq(authority, ",") {
		if host = strings.TrimSpace(host); host != "" {
			a.Hosts = append(a.Hosts, host)
		}
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the part after ? is not of the form name=value&name=value")
	}
	for name, vs := range values {
		a.values[name] = vs
	}
	return nil
}

// String returns the argument called name as it was written, or def if it was
// not given or is "None": that is how a null of a settings file comes here, and no
// password.
func (a *Args) String(name, def string) string {
	if s, ok := a.value(name); ok && s != none {
		return s
	}
	return def
}

// Int returns a whole number, or def if the argument was not given or is
// "None". A trailing KiB, MiB or GiB multiplies it.
func (a *Args) Int(name string, def int) int {
	s, ok := a.plain(name)
	if !ok {
		return def
	}
	unit := 1
	for suffix, n := range map[string]int{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if digits, found := strings.CutSuffix(s, suffix); found {
			s, unit = strings.TrimSpace(digits), n
			break
		}
	}
	n, err := strconv.Atoi(s)
	switch {
	case errors.Is(err, strconv.ErrRange), n > math.MaxInt/unit, n < math.MinInt/unit:
		a.fault(name, "is too large")
	case err != nil:
		a.fault(name, "is not a whole number")
	default:
		return n * unit
	}
	return def
}

// Bool returns a truth value, written true or false in any case, or 1 or 0; or
// def if the argument was not given or is "None".
func (a *Args) Bool(name string, def bool) bool {
	s, ok := a.plain(name)
	if !ok {
		return def
	}
	switch strings.ToLower(s) {
	case "true", "1":
		return true
	case "false", "0":
		return false
	}
	a.fault(name, "is neither true nor false")
	return def
}

// Duration returns a duration, written as [ParseDuration] reads it, or def if
// the argument was not given or is "None".
func (a *Args) Duration(name string, def time.Duration) time.Duration {
	s, ok := a.plain(name)
	if !ok {
		return def
	}
	d, err := ParseDuration(s)
	if err != nil {
		a.fault(name, "is "+err.Error())
		return def
	}
	return d
}

// Strings returns the values of an argument that may be given several times or
// as a list with commas; none if it was not given. The caller owns the slice.
func (a *Args) Strings(name string) []string {
	var out []string
	for _, v := range a.given(name) {
		for s := range strings.SplitSeq(v, ",") {
			if s = strings.TrimSpace(s); s != "" {
				out = append(out, s)
			}
		}
	}
	return out
}

// Err reports every argument that was malformed, given twice or never read, in
// one error, in alphabetical order; nil if there is none. Each is an *[ArgError].
func (a *Args) Err() error {
	faults := slices.Clone(a.faults)
	for name := range a.values {
		if !a.read[name] {
			faults = append(faults, &ArgError{name, "is unknown"})
		}
	}
	slices.SortFunc(faults, func(x, y error) int { return cmp.Compare(x.Error(), y.Error()) })
	// An argument that was read twice is at fault once.
	faults = slices.CompactFunc(faults, func(x, y error) bool { return x.Error() == y.Error() })
	return errors.Join(faults...)
}

// Format writes scheme, hosts and path, and nothing that may be secret.
func (a Args) Format(w fmt.State, _ rune) {
	io.WriteString(w, a.redacted())
}

// LogValue returns what Format writes.
func (a Args) LogValue() slog.Value { return slog.StringValue(a.redacted()) }

// MarshalText returns what Format writes.
func (a Args) MarshalText() ([]byte, error) { return []byte(a.redacted()), nil }

func (a Args) redacted() string {
	path := url.URL{Path: a.Path}
	return a.Scheme + "://" + strings.Join(a.Hosts, ",") + path.EscapedPath()
}

func (a *Args) fault(name, problem string) {
	a.faults = append(a.faults, &ArgError{name, problem})
}

// given returns what was given under name, and notes that it was read. Where
// nothing was, a name that differs in case alone will do: the environment writes
// all names in one case.
func (a *Args) given(name string) []string {
	if _, exact := a.values[name]; !exact {
		for _, other := range slices.Sorted(maps.Keys(a.values)) {
			if strings.EqualFold(other, name) && !a.read[other] {
				a.values[name] = a.values[other]
				delete(a.values, other)
				break
			}
		}
	}
	a.read[name] = true
	return a.values[name]
}

func (a *Args) value(name string) (string, bool) {
	vs := a.given(name)
	if len(vs) > 1 {
		a.fault(name, "is given twice")
	}
	if len(vs) == 0 {
		return "", false
	}
	return vs[0], true
}

// none is dogpile.cache's word for an argument that is not set.
const none = "None"

// plain is value for types to which white space means nothing.
func (a *Args) plain(name string) (string, bool) {
	s, ok := a.value(name)
	s = strings.TrimSpace(s)
	return s, ok && s != none
}
