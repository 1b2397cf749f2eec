//go:build unix

package memcached_test

import (
	"testing"

	"github.com/dogpile-go/dogpile/internal/fleettest"
)

// TestFleet has several processes share a server.
func TestFleet(t *testing.T) {
	fleettest.Run(t, fleettest.Config{URL: "memcached://" + startServer(t).Addr() + "?timeout=30s&breaker=false"})
}
