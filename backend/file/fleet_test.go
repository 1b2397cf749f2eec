//go:build unix

package file_test

import (
	"testing"

	"github.com/dogpile-go/dogpile/internal/fleettest"
)

// TestFleet has several processes share a file.
func TestFleet(t *testing.T) {
	fleettest.Run(t, fleettest.Config{URL: "file://" + t.TempDir() + "/cache.db?timeout=30s"})
}

func TestFleetAmidTrouble(t *testing.T) {
	fleettest.RunTrouble(t, fleettest.Config{URL: "file://" + t.TempDir() + "/cache.db"})
}

// TestFleetNear has copies in the processes.
func TestFleetNear(t *testing.T) {
	fleettest.RunNear(t, fleettest.Config{URL: "file://" + t.TempDir() + "/cache.db"})
}
