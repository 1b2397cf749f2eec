package backendurl_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendurl"
	"github.com/dogpile-go/dogpile/proxy"
)

type options struct {
	Name        string
	PythonLock  bool
	MaxValue    int
	DialTimeout time.Duration
	Breaker     *proxy.BreakerOptions
	TLS         *tls.Config
	Credentials func(ctx context.Context) (user, password string, err error)
}

// backend is what opener makes: the options that it was opened with.
type backend struct {
	driver.Backend
	o           options
	secure      backendurl.TLSConfig
	credentials backendurl.Credentials
}

var (
	errOpen = errors.New("not today")
	opener  = backendurl.Opener[options, *backend]{
		Schemes: []string{"backendurl", "backendurls"},
		Open: func(_ context.Context, args *driver.Args, o *options) (*backend, error) {
			load := backendurl.TLS(args, args.Scheme == "backendurls")
			login, contradiction := backendurl.ReadLogin(args)
			if err := errors.Join(args.Err(), contradiction); err != nil {
				return nil, err
			}
			if args.Path == "/fail" {
				return nil, errOpen
			}
			secure, err := load(o.TLS)
			if err != nil {
				return nil, err
			}
			credentials, err := login.Credentials()
			if err != nil {
				return nil, err
			}
			return &backend{o: *o, secure: secure, credentials: credentials}, nil
		},
	}
)

func init() { opener.Register() }

func TestOptionsComeFromTheURLAndTheCallersGoFirst(t *testing.T) {
	t.Parallel()
	const all = "backendurl://h?name=n&python_lock=true&max_value=1KiB&dial_timeout=1.5&breaker=false&breaker_failures=7&breaker_cooldown=2s"
	own := &proxy.BreakerOptions{Failures: 1}
	config := &tls.Config{}
	for _, tt := range []struct {
		name string
		url  string
		o    *options
		want options
	}{
		{"nothing", "backendurl://h", nil, options{Breaker: &proxy.BreakerOptions{}}},
		{"all in the URL", all, nil, options{"n", true, 1024, 1500 * time.Millisecond, &proxy.BreakerOptions{Off: true, Failures: 7, Cooldown: 2 * time.Second}, nil, nil}},
		{"some by the caller", all, &options{Name: "mine", MaxValue: 5, Breaker: own, TLS: config}, options{"mine", true, 5, 1500 * time.Millisecond, own, config, nil}},
		{"all by the caller", all, &options{"mine", true, 5, 1, own, config, nil}, options{"mine", true, 5, 1, own, config, nil}},
	} {
		b, err := opener.FromURL(t.Context(), tt.url, tt.o)
		if err != nil || !reflect.DeepEqual(b.o, tt.want) {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, b, err, tt.want)
		}
	}
}

func TestCallersOptionsAreNotWrittenTo(t *testing.T) {
	t.Parallel()
	var o options
	if _, err := opener.FromURL(t.Context(), "backendurl://h?name=n", &o); err != nil || !reflect.ValueOf(o).IsZero() {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestErrorsHaveOnePrefixAndNoSecret(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, url, want string }{
		{"of the kind", "backendurl://u:geheim@h/fail", "dogpile: open backendurl://h/fail: not today"},
		{"malformed argument", "backendurl://u:geheim@h?max_value=geheim", `dogpile: open backendurl://h: argument "max_value" is not a whole number`},
		{"unknown argument", "backendurl://u:geheim@h?max=geheim", `dogpile: open backendurl://h: argument "max" is unknown`},
		{"TLS for a scheme without", "backendurl://h?ca_file=geheim", `dogpile: open backendurl://h: argument "ca_file" is unknown`},
		{"file that is not there", "backendurls://h?ca_file=/nonexistent/x", "dogpile: open backendurls://h: ca_file: open /nonexistent/x: no such file or directory"},
		{"file that is no certificate", "backendurls://h?ca_file=/dev/null", "dogpile: open backendurls://h: ca_file /dev/null has no certificate in PEM form"},
		{"pair that is not there", "backendurls://h?cert_file=/nonexistent/c&key_file=/nonexistent/k", "dogpile: open backendurls://h: cert_file /nonexistent/c and key_file /nonexistent/k: open /nonexistent/c: no such file or directory"},
		{"two users", "backendurl://geheim@h?user=secret", `dogpile: open backendurl://h: argument "user" differs from what is said before the hosts or under another name`},
		{"two names of a user", "backendurl://h?user=geheim&username=secret", `dogpile: open backendurl://h: argument "username" differs from what is said before the hosts or under another name`},
		{"two passwords", "backendurl://:geheim@h?password=secret", `dogpile: open backendurl://h: argument "password" differs from what is said before the hosts or under another name`},
		{"password and password_file", "backendurl://:geheim@h?password_file=/x", `dogpile: open backendurl://h: argument "password_file" is given, and a password too`},
		{"password_file that is not there", "backendurl://geheim@h?password_file=/nonexistent/x", "dogpile: open backendurl://h: password_file: open /nonexistent/x: no such file or directory"},
		{"password_file that is empty", "backendurl://geheim@h?password_file=/dev/null", "dogpile: open backendurl://h: password_file /dev/null is empty"},
		{"half a pair", "backendurls://h?cert_file=/x", "dogpile: open backendurls://h: cert_file and key_file go together"},
		{"another scheme", "memory://u:geheim@h", `dogpile: open memory://h: "memory" is no scheme of this backend`},
		{"malformed URL", "backendurl://u:geheim@h#x", "dogpile: malformed backendurl URL: a # has to be written as %23"},
	} {
		b, err := opener.FromURL(t.Context(), tt.url, nil)
		if b != nil || fmt.Sprint(err) != tt.want {
			t.Errorf("%s: %v, %v; want %s", tt.name, b, err, tt.want)
		}
		if strings.HasPrefix(tt.url, "backendurl") {
			b, err := driver.Open(t.Context(), tt.url)
			if b != nil || fmt.Sprint(err) != tt.want {
				t.Errorf("%s, by driver.Open: %v, %v; want %s", tt.name, b, err, tt.want)
			}
		}
	}
	if _, err := opener.FromURL(t.Context(), "backendurl://h/fail", nil); !errors.Is(err, errOpen) {
		t.Errorf("%v does not wrap what the kind has returned", err)
	}
}

func TestOptionWithoutAnArgumentPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if p := fmt.Sprint(recover()); !strings.Contains(p, "Ratio") {
			t.Errorf("panic %q does not name the field", p)
		}
	}()
	op := backendurl.Opener[struct{ Ratio float64 }, *backend]{Schemes: []string{"backendurl"}}
	_, _ = op.FromURL(t.Context(), "backendurl://h", nil)
}
