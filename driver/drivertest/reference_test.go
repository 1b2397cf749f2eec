package drivertest

import (
	"testing"

	"github.com/dogpile-go/dogpile/driver"
)

func TestReferenceKeepsTheContract(t *testing.T) {
	Run(t, func(*testing.T) driver.Backend { return newReference() }, nil)
}

func TestBareBackendKeepsTheContract(t *testing.T) {
	Run(t, func(*testing.T) driver.Backend { return bare{newReference()} }, &Options{Bubble: true})
}

func TestTransparentProxyPasses(t *testing.T) {
	RunProxy(t, func(b driver.Backend) driver.Backend { return driver.Proxy{Backend: b} }, nil)
}
