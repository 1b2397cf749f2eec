package redis_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/dogpile-go/dogpile/backend/redis"
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

// TestFleetNearOnCluster has copies in the processes, while shards hang and slots move.
func TestFleetNearOnCluster(t *testing.T) {
	c := startCluster(t, nil)
	fleettest.RunNear(t, fleettest.Config{
		URL:   c.url() + "?timeout=200ms&breaker_cooldown=500ms",
		Brief: true,
		Harms: []fleettest.Harm{
			{Name: "a shard stands still", Do: func(int) (undo func()) {
				node := c[rand.N(len(c))]
				node.Stop(t)
				return func() { node.Resume(t) }
			}},
			{Name: "a slot moves", Do: func(int) (undo func()) { return moveSlot(t, c) }},
		},
	})
}

// moveSlot has a slot in which there are keys begin to move to another node, with half of them.
// end moves the others.
func moveSlot(t *testing.T, c cluster) (end func()) {
	at := rand.N(len(c))
	m := &moving{cluster: c, t: t, from: c[at], to: c[(at+1)%len(c)]}
	keys, err := m.from.do(t, "KEYS", "*").AsStrSlice()
	ok(t, err)
	if len(keys) == 0 {
		return func() {}
	}
	slot := redis.Slot(keys[rand.N(len(keys))])
	m.slot = fmt.Sprint(slot)
	m.begin()
	for _, key := range keys {
		if redis.Slot(key) == slot && rand.N(2) == 0 {
			m.move(key)
		}
	}
	return func() {
		for {
			keys, err := m.from.do(t, "CLUSTER", "GETKEYSINSLOT", m.slot, "1000").AsStrSlice()
			ok(t, err)
			for _, key := range keys {
				m.move(key)
			}
			if len(keys) == 0 {
				break
			}
		}
		m.end()
	}
}
