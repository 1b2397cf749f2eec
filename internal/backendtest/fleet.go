//go:build unix

package backendtest

import (
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/fleettest"
)

// Fleet is the networks of a fleet of processes, one for each.
type Fleet struct {
	t      testing.TB
	target string

	mu   sync.Mutex
	nets map[int]*Network
}

// NewFleet returns networks to the server at target, which last until the test ends.
func NewFleet(t testing.TB, target string) *Fleet {
	return &Fleet{t: t, target: target, nets: make(map[int]*Network)}
}

func (f *Fleet) net(proc int) *Network {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nets[proc] == nil {
		f.nets[proc] = NewNetwork(f.t, f.target)
	}
	return f.nets[proc]
}

// Addr returns where a process connects to.
func (f *Fleet) Addr(proc int) string { return f.net(proc).Addr }

// forLong is longer than any harm lasts.
const forLong = time.Hour

// Harms returns what can happen to a process's network, and to the server. The connections on
// which news of changes come are those over which a word is sent; "": there are none.
func (f *Fleet) Harms(server interface {
	Stop(t testing.TB)
	Resume(t testing.TB)
	Kill()
	Start(t testing.TB)
	Flush(t testing.TB)
}, word string) []fleettest.Harm {
	harms := []fleettest.Harm{
		{Name: "the server stands still", Do: func(int) (undo func()) {
			server.Stop(f.t)
			return func() { server.Resume(f.t) }
		}},
		{Name: "the server starts anew, with nothing", Do: func(int) (undo func()) {
			server.Kill()
			return func() { server.Start(f.t) }
		}},
		{Name: "the server loses all", Do: func(int) (undo func()) {
			server.Flush(f.t)
			return func() {}
		}},
		{Name: "all answers are held back", Do: func(proc int) (undo func()) { return f.net(proc).Slow("", forLong) }},
		{Name: "all connections are half-open", Do: func(proc int) (undo func()) { return f.net(proc).HalfOpen("") }},
		{Name: "all connections end", Do: func(proc int) (undo func()) {
			f.net(proc).Cut()
			return f.net(proc).Mend
		}},
	}
	if word != "" {
		harms = append(harms, []fleettest.Harm{
			{Name: fleettest.HeldBack, Do: func(proc int) (undo func()) { return f.net(proc).Slow(word, forLong) }},
			{Name: "news are slow", Do: func(proc int) (undo func()) { return f.net(proc).Slow(word, 100*time.Millisecond) }},
			{Name: fleettest.HalfOpen, Do: func(proc int) (undo func()) { return f.net(proc).HalfOpen(word) }},
		}...)
	}
	return harms
}
