//go:build unix

package memory_test

import (
	"testing"

	"github.com/dogpile-go/dogpile/internal/fleettest"
)

func TestMain(m *testing.M) {
	fleettest.Play()
	m.Run()
}

func TestHistory(t *testing.T) { fleettest.RunAlone(t, fleettest.Config{URL: "memory://"}) }
