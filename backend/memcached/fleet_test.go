//go:build unix

package memcached_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/internal/fleettest"
)

// TestFleet has several processes share a server.
func TestFleet(t *testing.T) {
	fleettest.Run(t, fleettest.Config{URL: "memcached://" + startServer(t).Addr() + "?timeout=30s&connect_timeout=30s&breaker=false"})
}

// TestFleetAmidTrouble has one server of four hang now and then.
func TestFleetAmidTrouble(t *testing.T) {
	var servers []*server
	var hosts []string
	for range 4 {
		s := startServer(t)
		servers, hosts = append(servers, s), append(hosts, s.Addr())
	}
	fleettest.RunTrouble(t, fleettest.Config{
		URL: "memcached://" + strings.Join(hosts, ",") + "?timeout=200ms&breaker_cooldown=500ms",
		Harm: func() (undo func()) {
			s := servers[rand.N(len(servers))]
			s.Stop(t)
			return func() { s.Resume(t) }
		},
	})
}

// TestFleetWithWeakLeases: what invalidates tags reaches what others store, too.
func TestFleetWithWeakLeases(t *testing.T) {
	for _, arg := range []string{"protocol=binary", "python_lock=true"} {
		t.Run(arg, func(t *testing.T) {
			t.Parallel()
			fleettest.RunTags(t, fleettest.Config{
				URL: "memcached://" + startServer(t).Addr() + "?timeout=30s&connect_timeout=30s&breaker=false&" + arg,
			})
		})
	}
}

// TestFleetNear has copies in the processes, each of which has a network of its own.
func TestFleetNear(t *testing.T) {
	s := startServer(t)
	f := backendtest.NewFleet(t, s.Addr())
	fleettest.RunNear(t, fleettest.Config{
		Via:   func(proc int) string { return "memcached://" + f.Addr(proc) + "?timeout=200ms&breaker_cooldown=500ms" },
		Harms: f.Harms(s, ""),
	})
}
