//go:build unix

package file_test

import (
	"testing"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func TestRegions(t *testing.T) {
	t.Parallel()
	path := place(t)
	backendtest.Regions(t, func(t testing.TB) driver.Backend { return open(t, path, nil) })
}
