package redis_test

import (
	"math/rand/v2"
	"testing"

	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/internal/fleettest"
)

func fleetConfig(t *testing.T) fleettest.Config {
	return fleettest.Config{URL: "redis://" + startServer(t).addr + "?timeout=30s&connect_timeout=30s&breaker=false"}
}

func TestFleet(t *testing.T) { fleettest.Run(t, fleetConfig(t)) }

func TestFleetFindsFaults(t *testing.T) { fleettest.RunBroken(t, fleetConfig(t)) }

func TestFleetAmidTrouble(t *testing.T) {
	fleettest.RunTrouble(t, fleettest.Config{URL: "redis://" + startServer(t).addr + "?timeout=300ms&breaker_cooldown=500ms"})
}

// TestFleetOnClusterAmidTrouble has one shard of three hang now and then.
func TestFleetOnClusterAmidTrouble(t *testing.T) {
	c := startCluster(t, nil)
	fleettest.RunTrouble(t, fleettest.Config{
		URL: c.url() + "?timeout=200ms&breaker_cooldown=500ms",
		Harm: func() (undo func()) {
			node := c[rand.N(len(c))]
			node.Stop(t)
			return func() { node.Resume(t) }
		},
	})
}

// nearConfig is of processes each of which has a network of its own.
func nearConfig(t *testing.T) fleettest.Config {
	s := startServer(t)
	f := backendtest.NewFleet(t, s.addr)
	return fleettest.Config{
		URL:   "redis://" + s.addr + "?timeout=30s&connect_timeout=30s&breaker=false",
		Via:   func(proc int) string { return "redis://" + f.Addr(proc) + "?timeout=300ms&breaker_cooldown=500ms" },
		Harms: f.Harms(s, "TRACKING"),
	}
}

// TestFleetNear has copies in the processes.
func TestFleetNear(t *testing.T) { fleettest.RunNear(t, nearConfig(t)) }

func TestFleetNearFindsFaults(t *testing.T) { fleettest.RunBrokenNear(t, nearConfig(t)) }
