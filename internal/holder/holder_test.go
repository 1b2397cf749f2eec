package holder_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/holder"
)

func TestTokensTellThisProcess(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 1000 {
		before := time.Now().Truncate(time.Millisecond)
		token := holder.NewToken()
		h := holder.Of(token)
		if h.Host != host[:min(len(host), 64)] || h.PID != os.Getpid() || h.Program != "" || h.Since.Before(before) || h.Since.After(time.Now()) {
			t.Fatalf("%q is of %+v", token, h)
		}
		random, _, _ := strings.Cut(strings.TrimPrefix(token, holder.Mark), ".")
		if len(random) < 26 || seen[random] {
			t.Fatalf("%q is not unique", token)
		}
		seen[random] = true
	}
}

func TestHostNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("h", 64)
	for name, tt := range map[string]struct{ host, want string }{
		"plain":                         {"web-1", "web-1"},
		"with dots":                     {"web-1.shop.example.com", "web-1.shop.example.com"},
		"none":                          {"", ""},
		"with spaces and control bytes": {"a b\r\nset x 0 0 1\x00\x7f", "a b\r\nset x 0 0 1\x00\x7f"},
		"with letters of other scripts": {"büro-πc", "büro-πc"},
		"with bytes of no script":       {"a\xff\xfeb", "a\xff\xfeb"},
		"with escapes of its own":       {"a%41b%", "a%41b%"},
		"as long as may be":             {long, long},
		"too long":                      {long + "x", long},
		"too long, cut in a character":  {long[:63] + "ü", long[:63]},
		"too long, all escaped":         {strings.Repeat("\xc3\xbc", 200), strings.Repeat("ü", 32)},
	} {
		token := holder.TokenOf(tt.host, 1<<31-1)
		if len(token) > 300 || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			t.Errorf("%s: the token %q has %d bytes, or others than printable ASCII", name, token, len(token))
		}
		want := driver.Holder{Host: tt.want, PID: 1<<31 - 1, Since: time.UnixMilli(1795335672908)}
		if h := holder.Of(token); h != want {
			t.Errorf("%s: %q is of %+v, want %+v", name, token, h, want)
		}
	}
}

func TestTokensOfOthers(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]driver.Holder{
		"1":                                {Program: "python"},
		"":                                 {Program: "python"},
		"0123456789abcdef0123456789abcdef": {Program: "python"},
		holder.Mark:                        {},
		holder.Mark + "RANDOM":             {},
		holder.Mark + "R.1.2":              {},
		holder.Mark + "R.x.2.h":            {},
		holder.Mark + "R.1.x.h":            {},
		holder.Mark + "R.1.2.%zz":          {},
	} {
		if h := holder.Of(token); h != want {
			t.Errorf("%q is of %+v, want %+v", token, h, want)
		}
	}
}
