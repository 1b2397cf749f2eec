package driver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/driver"
)

// TestArgumentsInAnotherCase: the environment writes all names in one case, those of
// arguments among them.
func TestArgumentsInAnotherCase(t *testing.T) {
	for _, row := range []struct {
		name, url string
		want      string // of the argument maxSize
		fault     string
	}{
		{"as it is", "x://?maxSize=1", "1", ""},
		{"in lower case", "x://?maxsize=1", "1", ""},
		{"in capitals", "x://?MAXSIZE=1", "1", ""},
		{"the exact one counts", "x://?maxSize=1&maxsize=2", "1", `argument "maxsize" is unknown`},
		{"another word", "x://?max_size=1", "", `argument "max_size" is unknown`},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := argsOf(t, row.url, nil)
			for range 2 {
				if got := a.String("maxSize", ""); got != row.want {
					t.Errorf("maxSize = %q, want %q", got, row.want)
				}
			}
			if got := a.Strings("maxSize"); strings.Join(got, ",") != row.want {
				t.Errorf("maxSize as a list = %q", got)
			}
			if err := a.Err(); (err != nil) != (row.fault != "") || err != nil && err.Error() != row.fault {
				t.Errorf("Err = %v, want %q", err, row.fault)
			}
		})
	}
}

func same(b driver.Backend) driver.Backend { return b }

func TestProxyRegistry(t *testing.T) {
	driver.RegisterProxy("registry-test", same)
	if wrap, err := driver.ProxyNamed("registry-test"); wrap == nil || err != nil {
		t.Errorf("ProxyNamed = %v", err)
	}
	_, err := driver.ProxyNamed("registry-tset")
	if err == nil || !strings.HasPrefix(err.Error(), `unknown proxy "registry-tset" (forgotten import?); known: `) || !strings.Contains(err.Error(), "registry-test") {
		t.Errorf("ProxyNamed of an unknown name = %v", err)
	}
	for want, register := range map[string]func(){
		"dogpile: proxy x is registered as nil":                                         func() { driver.RegisterProxy("x", nil) },
		"dogpile: proxy registry-test is registered twice":                              func() { driver.RegisterProxy("registry-test", same) },
		"dogpile: proxy is registered without a name":                                   func() { driver.RegisterProxy("", same) },
		`dogpile: proxy "a,b" is registered under a name that no list can have in it`:   func() { driver.RegisterProxy("a,b", same) },
		`dogpile: proxy "a b" is registered under a name that no list can have in it`:   func() { driver.RegisterProxy("a b", same) },
		`dogpile: proxy "tab\t" is registered under a name that no list can have in it`: func() { driver.RegisterProxy("tab\t", same) },
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); got != want {
					t.Errorf("panic %q, want %q", got, want)
				}
			}()
			register()
		}()
	}
}
