package redis_test

import (
	"testing"

	"github.com/dogpile-go/dogpile/internal/fleettest"
)

func fleetConfig(t *testing.T) fleettest.Config {
	return fleettest.Config{URL: "redis://" + startServer(t).addr + "?timeout=30s&breaker=false"}
}

func TestFleet(t *testing.T) { fleettest.Run(t, fleetConfig(t)) }

func TestFleetFindsFaults(t *testing.T) { fleettest.RunBroken(t, fleetConfig(t)) }
