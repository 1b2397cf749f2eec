//go:build unix

// Package fleettest checks, with real processes, what a backend promises to a
// fleet of them: at every expiry one creator among all, even if the process that
// holds the lease is killed or stopped; and that no read returns a value which
// had been replaced before the read began, nor one that was made, at whatever level, of
// data whose tag had been invalidated. The processes are the test binary
// itself, started again. A backend's tests need a few lines:
//
//	func TestMain(m *testing.M) {
//		fleettest.Play()
//		m.Run()
//	}
//
//	func TestFleet(t *testing.T) {
//		fleettest.Run(t, fleettest.Config{URL: "redis://127.0.0.1:6379?timeout=30s&breaker=false"})
//	}
//
// The checks wait for conditions and order events on a clock that the processes
// share, so that an overloaded machine makes them slow and not wrong. They measure
// one time only: how long it takes until a holder that was killed or stopped is
// replaced. It may be longer than promised by some slack.
//
// The package is for tests of this module alone.
package fleettest

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

const (
	// taskEnv tells a process of its task.
	taskEnv = "DOGPILE_FLEET_TASK"

	// promptness is how soon after the end of its lease, of whole seconds, a holder
	// that was killed or stopped must be replaced. It takes as long over memcached,
	// where callers have a stale value.
	promptness = 2 * time.Second
	// slack is what an overloaded machine may add to that.
	slack = 3 * time.Second
	// patience is how long the checks wait for anything else.
	patience = 30 * time.Second
	// aloneFor is how long the history of a single process is recorded, and tagsFor how long
	// one of tags alone.
	aloneFor = 5 * time.Second
	tagsFor  = 3 * time.Second
	// service is how long a creator waits for the other readers to be served.
	service = 15 * time.Second
)

var historyFor = flag.Duration("history", 20*time.Second, "how long the history of reads and changes is recorded and checked")

// Config says what [Run] checks.
type Config struct {
	// URL is what each process opens the backend with, by [driver.Open]: the test
	// binary imports the package that registers it. No call may fail, so its timeouts,
	// that for connecting too, are longer than a process is stopped, which is LockTTL
	// and some seconds, and it has no breaker. What is stored there already does no
	// harm.
	URL string

	// LockTTL is the lease of the holders that are killed and stopped: a multiple
	// of the backend's Caps.TTLUnit, and more than that. 0: 2 s.
	LockTTL time.Duration

	// Harm, in [RunTrouble], harms a server, as by stopping one of several, and
	// returns a function that undoes that. nil: the servers are left alone.
	Harm func() (undo func())

	// Via returns what the process of a number opens the backend with, in [RunNear], so that
	// each can have a network of its own. nil: URL.
	Via func(proc int) (url string)

	// Harms are done in [RunNear], one after the other, for longer than a copy may be old.
	Harms []Harm

	// Brief has RunNear check copies that are exact alone, if the flag -near is not given.
	Brief bool
}

// Names of harms.
const (
	HeldBack = "news are held back"
	HalfOpen = "the news' connection is half-open"
)

// Harm is something that happens to a process or its servers.
type Harm struct {
	Name string
	Do   func(proc int) (undo func())
}

// task is what a process does.
type task struct {
	Role       string
	URL        string
	World      string // the file
	Region     string
	Proc       int           // its number
	Procs      int           // how many there are
	Each       int           // goroutines in each
	Rest       time.Duration // between two calls of a goroutine, about
	LockTTL    time.Duration
	Expiration time.Duration
	Ahead      float64       // Options.RefreshAhead
	Tagged     bool          // what is asked for has a tag
	Broken     string        // names what is wrong with the backend; "": nothing
	Near       *dogpile.Near // Options.Near
	Trouble    bool          // calls may fail: callers are in haste, servers are harmed, a process is cut off
}

// scene is one thing to check.
type scene struct {
	name string
	task task // without what differs between backends and between processes
	play func(*fleet)
}

// scenes returns what Run checks, in order.
func scenes() []scene {
	return []scene{
		{"one creator for a missing key, even if its holder is killed or stopped", stampedeTask, stampede},
		{"one creator at every expiry", stormTask, func(f *fleet) { storm(f, 10*time.Second) }},
		{"one creator ahead of every expiry", aheadTask, func(f *fleet) { storm(f, 10*time.Second) }},
		{"one creator whenever a tag is invalidated", taggedTask, func(f *fleet) { invalidations(f, 6) }},
		{"another takes over when the holder is killed", strikeTask, func(f *fleet) { killHolders(f, 3) }},
		{"a holder that is stopped past its lease does not store", strikeTask, func(f *fleet) { stopHolders(f, 3) }},
	}
}

// Play is the first call of a TestMain. In a process that [Run] has started it
// plays the part of that process and ends the program. Otherwise it does nothing.
func Play() {
	text := os.Getenv(taskEnv)
	if text == "" {
		return
	}
	var k task
	err := json.Unmarshal([]byte(text), &k)
	if err == nil {
		err = act(k)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "process %d of the fleet: %v\n", k.Proc, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Run checks a backend with fleets of processes, in subtests that take about a
// minute together. The flag -history makes the last of them longer. The test
// binary's TestMain has to call [Play].
func Run(t *testing.T, c Config) {
	t.Helper()
	c.LockTTL = cmp.Or(c.LockTTL, 2*time.Second)
	for _, s := range scenes() {
		t.Run(s.name, func(t *testing.T) { report(t, perform(t, c, s)) })
	}
	c.LockTTL /= 4 // there is more to see when leases are lost now and then
	t.Run("no old value is read", func(t *testing.T) {
		recorded(t, c, historyTask)
	})
}

// RunTrouble checks that no old value is read amid trouble: some callers have next
// to no time, processes are killed, stopped and cut off from the backend until
// their breaker opens, and Config.Harm is done. Calls may fail there, so that
// Config.URL has the time-outs and the breaker of a service. A call that fails
// promises nothing.
func RunTrouble(t *testing.T, c Config) {
	t.Helper()
	c.LockTTL = cmp.Or(c.LockTTL, 2*time.Second) / 4
	recorded(t, c, troubleTask)
}

// RunAlone checks a backend that is not shared: that no old value is read in one process,
// where nobody is killed or stopped.
func RunAlone(t *testing.T, c Config) {
	t.Helper()
	c.LockTTL = cmp.Or(c.LockTTL, 2*time.Second) / 4
	report(t, perform(t, c, scene{task: aloneTask, play: func(f *fleet) { history(f, aloneFor, true) }}))
}

// RunTags checks a backend whose leases do not keep others from storing: what a tag is for
// that was invalidated is not read any more, whatever becomes of single entries.
func RunTags(t *testing.T, c Config) {
	t.Helper()
	c.LockTTL = cmp.Or(c.LockTTL, 2*time.Second) / 4
	report(t, perform(t, c, scene{task: tagsTask, play: func(f *fleet) { history(f, tagsFor, false) }}))
}

// recorded records and checks histories for as long as the flag says.
func recorded(t *testing.T, c Config, k task) {
	t.Helper()
	laps := (*historyFor + lap - 1) / lap
	for range laps {
		report(t, perform(t, c, scene{task: k, play: func(f *fleet) { history(f, *historyFor/laps, false) }}))
		if t.Failed() {
			break
		}
	}
}

// report fails the test for each fault.
func report(t *testing.T, faults []string) {
	t.Helper()
	for _, fault := range faults {
		t.Error(fault)
	}
}
