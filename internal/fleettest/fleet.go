//go:build unix

package fleettest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// fleet is the processes of one scene, as the test sees them.
type fleet struct {
	t     *testing.T
	task  task
	w     *world
	hurt  func() (undo func()) // see Config.Harm
	via   func(proc int) (url string)
	harms []Harm
	only  string // the one kind of trouble that there is; "": all

	spans  []span        // of trouble, in order
	oldest time.Duration // see stale
	tally  tally
	procs  []*process // by number: the one that was started last

	mu    sync.Mutex
	found []string
}

// process is one process of a fleet.
type process struct {
	cmd    *exec.Cmd
	said   bytes.Buffer // the faults it has found, a line each; read once it has ended
	killed atomic.Bool
	done   chan struct{} // closed when it has ended
}

// perform plays a scene and returns the faults that were found.
func perform(t *testing.T, c Config, s scene) []string {
	t.Helper()
	f := &fleet{t: t, task: s.task, hurt: c.Harm, via: c.Via, harms: c.Harms}
	f.task.URL, f.task.World, f.task.Region = c.URL, filepath.Join(t.TempDir(), "world"), "fleet-"+rand.Text()
	f.task.LockTTL = cmp.Or(f.task.LockTTL, c.LockTTL)
	w, err := openWorld(f.task.World)
	if err != nil {
		t.Fatal(err)
	}
	f.w, f.procs = w, make([]*process, f.task.Procs)
	t.Cleanup(func() {
		f.disband(0)
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	for i := range f.procs {
		f.launch(i)
	}
	if f.await("all processes to be ready", f.ready) {
		s.play(f)
	}
	f.disband(patience)
	return f.faults()
}

// ready reports whether all processes run.
func (f *fleet) ready() bool {
	for i := range f.procs {
		if f.w.procs[i].away.Load() {
			return false
		}
	}
	return true
}

// launch starts process i, or starts it again. It is away until it says that it
// is ready.
func (f *fleet) launch(i int) {
	f.t.Helper()
	p := &f.w.procs[i]
	p.away.Store(true)
	p.dead.Store(false)
	p.creating.Store(0)
	p.lease.Store(0)
	// A process that was killed has left calls open that will never end.
	for g := range p.readers {
		p.readers[g].begun.Store(p.readers[g].ended.Load())
	}
	k := f.task
	k.Proc = i
	if f.via != nil {
		k.URL = f.via(i)
	}
	text, err := json.Marshal(k)
	if err != nil {
		f.t.Fatal(err)
	}
	binary, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	pr := &process{cmd: exec.Command(binary), done: make(chan struct{})}
	// The race detector would have each process wait for a second at its end.
	pr.cmd.Env = append(os.Environ(), taskEnv+"="+string(text), "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	pr.cmd.SysProcAttr = dieWithParent()
	pr.cmd.Stdout, pr.cmd.Stderr = &pr.said, os.Stderr
	if err := pr.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.procs[i] = pr
	go func() {
		defer close(pr.done)
		err := pr.cmd.Wait()
		for line := range strings.Lines(pr.said.String()) {
			f.note(strings.TrimSuffix(line, "\n"))
		}
		if err != nil && !pr.killed.Load() {
			f.fault("process %d has ended: %v", i, err)
		}
	}()
}

// kill ends process i in the middle of its work, and returns the time.
func (f *fleet) kill(i int) time.Time {
	f.w.procs[i].away.Store(true)
	f.w.procs[i].dead.Store(true)
	pr := f.procs[i]
	pr.killed.Store(true) // before the kill, or its end would be a fault
	at := time.Now()
	_ = pr.cmd.Process.Kill() // it may have ended by itself
	<-pr.done
	return at
}

// stop halts process i until it is continued, and returns the time.
func (f *fleet) stop(i int) time.Time {
	f.w.procs[i].away.Store(true)
	at := time.Now()
	f.signal(i, syscall.SIGSTOP)
	return at
}

func (f *fleet) cont(i int) {
	f.signal(i, syscall.SIGCONT)
	f.w.procs[i].away.Store(false)
}

func (f *fleet) signal(i int, sig syscall.Signal) {
	if err := f.procs[i].cmd.Process.Signal(sig); err != nil {
		f.fault("process %d: %v: %v", i, sig, err)
	}
}

// disband lets the processes end by themselves, and kills those that have not done
// so within the time given. After a fault they get a second, to report others.
func (f *fleet) disband(within time.Duration) {
	f.w.over.Store(true)
	if f.w.faults.Load() > 0 {
		within = min(within, time.Second)
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for i, pr := range f.procs {
		if pr == nil {
			continue
		}
		_ = pr.cmd.Process.Signal(syscall.SIGCONT) // it may have ended
		if pr.ended(ctx) {
			continue
		}
		if f.w.faults.Load() == 0 && within > 0 {
			f.fault("process %d does not come to an end", i)
		}
		pr.killed.Store(true)
		_ = pr.cmd.Process.Kill()
		<-pr.done
	}
}

// ended waits for the end of a process or of ctx, and reports whether the process
// has ended.
func (pr *process) ended(ctx context.Context) bool {
	select {
	case <-pr.done:
		return true
	case <-ctx.Done():
	}
	// With both ready, the first select may have picked either.
	select {
	case <-pr.done:
		return true
	default:
		return false
	}
}

// fault notes something that must not happen, and ends the scene.
func (f *fleet) fault(format string, args ...any) {
	f.w.faults.Add(1)
	f.note(fmt.Sprintf(format, args...))
}

func (f *fleet) note(fault string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.found = append(f.found, fault)
}

func (f *fleet) faults() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.found
}

// await waits for cond, and reports whether it came true before a fault was found.
// If it takes too long, that is a fault.
func (f *fleet) await(what string, cond func() bool) bool {
	return f.awaitFor(patience, what, cond)
}

func (f *fleet) awaitFor(limit time.Duration, what string, cond func() bool) bool {
	for start := time.Now(); !cond(); pause(time.Millisecond) {
		if f.w.faults.Load() > 0 {
			return false
		}
		if waited := time.Since(start); waited > limit {
			f.fault("waited for %v in vain for %s", waited.Round(time.Millisecond), what)
			return false
		}
	}
	return f.w.faults.Load() == 0
}

// goOn lets the processes go on for d, and reports whether no fault was found.
func (f *fleet) goOn(d time.Duration) bool {
	until := time.Now().Add(d)
	return f.awaitFor(d+patience, "time to pass", func() bool { return time.Now().After(until) })
}
