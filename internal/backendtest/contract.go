//go:build unix

package backendtest

import (
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
	"github.com/dogpile-go/dogpile/proxy"
)

// over opens backends for drivertest.Run, which closes them. They are patient
// unless url has a timeout.
func over(url string) func(t *testing.T) driver.Backend {
	if !strings.Contains(url, "timeout=") {
		url = Patient(url)
	}
	return func(t *testing.T) driver.Backend {
		b, err := driver.Open(t.Context(), url)
		OK(t, err)
		return b
	}
}

// Contract runs the contract suite of drivertest over the backends that urls
// open, by the names of their rows.
func Contract(t *testing.T, urls map[string]string) {
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, over(url), nil)
		})
	}
}

// ContractUnderProxies does so with each of the stock proxies around the backend.
func ContractUnderProxies(t *testing.T, url string) {
	for name, wrap := range map[string]func(driver.Backend) driver.Backend{
		"compress": proxy.Compress(nil),
		"log":      proxy.Log(nil),
		"chaos":    proxy.Chaos(nil),
		"breaker":  proxy.Breaker(nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, func(t *testing.T) driver.Backend { return wrap(over(url)(t)) }, nil)
		})
	}
}

// Patient returns url with time-outs for a machine that may be very busy.
func Patient(url string, args ...string) string { return WithArgs(url, append(args, patient...)...) }
