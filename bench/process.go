package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"
)

// An order is what a process is told to do.
type order struct {
	Key        string        // to get
	Goroutines int           // that get it, once each
	At         int64         // when they begin, in ns since 1970; the past means now
	Create     time.Duration // what a creator takes

	// Get Keys keys, which are Key and a number, again and again For so long.
	// Others than Python do so in a zipf distribution of the keys, and set each
	// Writes-th one instead. 0: none.
	Keys   int
	For    time.Duration
	Writes int

	Await  string // not Python: get Key until this is what it returns
	Delete string // not Python: have creators return this from now on, and delete Key
}

// News is what a process tells: first that it is ready, then of every creator
// that begins, and of every order that is done.
type news struct {
	Creating bool
	Awaiting bool    // another value than the one that is awaited, several times
	Created  []int64 // when creators were done
	Calls    []span
	Err      string

	Gets, Sets, Near int // of Near the gets that a copy in the process has answered
}

// A span is from when to when a call took, in ns since 1970.
type span struct{ Start, End int64 }

// A process has opened a client and obeys orders.
type process struct {
	name string
	cmd  *exec.Cmd
	in   *json.Encoder
	news chan news // closed when the process has ended
}

// roleEnv has the setting of a process that the bench has started of itself.
const roleEnv = "DOGPILE_BENCH_CLIENT"

// peer does in Python what obey does.
//
//go:embed peer.py
var peer string

// launch starts n processes with a client, and waits until all are ready.
func launch(n int, c client, s setting) ([]*process, error) {
	s.Client = c.name
	var all []*process
	for range n {
		p, err := start(c, s)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, p)
	}
	for _, p := range all {
		if _, err := p.next(patience); err != nil {
			closeAll(all)
			return nil, err
		}
	}
	return all, nil
}

func start(c client, s setting) (*process, error) {
	role, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	// Debian's Python, for which it installs dogpile.cache.
	cmd := exec.Command("/usr/bin/python3", "-I", "-c", peer, string(role))
	if c.open != nil {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd = exec.Command(self)
		cmd.Env = append(os.Environ(), roleEnv+"="+string(role))
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = dieWithParent()
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		if c.open == nil {
			err = fmt.Errorf("%w: apt-get install python3-dogpile.cache python3-redis", err)
		}
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	p := &process{c.name, cmd, json.NewEncoder(in), make(chan news, 1000)}
	go func() {
		defer close(p.news)
		for d := json.NewDecoder(out); ; {
			var n news
			if d.Decode(&n) != nil {
				return
			}
			p.news <- n
		}
	}()
	return p, nil
}

var errSilent = errors.New("tells nothing")

// next returns the next news, or errSilent if there is none within limit.
func (p *process) next(limit time.Duration) (news, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case n, open := <-p.news:
		switch {
		case !open:
			return n, fmt.Errorf("%s: the process has ended", p.name)
		case n.Err != "":
			return n, fmt.Errorf("%s: %s", p.name, n.Err)
		}
		return n, nil
	case <-timer.C:
		return news{}, fmt.Errorf("%s: %w in %v", p.name, errSilent, limit)
	}
}

// done returns what came of an order.
func (p *process) done(limit time.Duration) (news, error) {
	for {
		if n, err := p.next(limit); err != nil || !n.Creating && !n.Awaiting {
			return n, err
		}
	}
}

// orderAll gives an order to processes and returns what came of it in all of
// them.
func orderAll(all []*process, o order) (sum news, err error) {
	for _, p := range all {
		if err := p.in.Encode(o); err != nil {
			return sum, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	for _, p := range all {
		n, err := p.done(patience)
		if err != nil {
			return sum, err
		}
		sum.Created = append(sum.Created, n.Created...)
		sum.Calls = append(sum.Calls, n.Calls...)
		sum.Gets, sum.Sets, sum.Near = sum.Gets+n.Gets, sum.Sets+n.Sets, sum.Near+n.Near
	}
	return sum, nil
}

// Close kills the process.
func (p *process) Close() {
	p.cmd.Process.Kill()
	for range p.news { // Wait must not come before all is read
	}
	p.cmd.Wait()
}

func closeAll(all []*process) {
	for _, p := range all {
		p.Close()
	}
}

// Fleets are processes of several clients, which take turns.
type fleets [][]*process

// launchFleets starts n processes with each of clients.
func launchFleets(n int, s setting, clients []client) (fleets, error) {
	var fs fleets
	for _, c := range clients {
		f, err := launch(n, c, s)
		if err != nil {
			fs.Close()
			return nil, err
		}
		fs = append(fs, f)
	}
	return fs, nil
}

func (fs fleets) Close() {
	for _, f := range fs {
		closeAll(f)
	}
}

// rounds lets each fleet play so many rounds, in an order that is drawn anew
// for each round, with a key that nobody has used. One round before them warms
// up, after which all is connected, and does not count.
func (fs fleets) rounds(o *options, title string, n int, play func(i int, key string, counts bool) error) error {
	for round := range n + 1 {
		o.progress(fmt.Sprintf("%s: round %d of %d", title, round, n))
		for _, i := range rand.Perm(len(fs)) {
			if err := play(i, fmt.Sprint(title, i, round), round > 0); err != nil {
				return err
			}
		}
	}
	return nil
}
