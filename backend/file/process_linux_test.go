package file_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"

	"github.com/dogpile-go/dogpile/internal/fleettest"
)

// roles are what processes do that these tests start of their own binary.
var roles = map[string]func(path string, args []string) error{
	"hold":   holdRole,
	"write":  writeRole,
	"count":  countRole,
	"modes":  modesRole,
	"full":   fullRole,
	"read":   readOnlyRole,
	"change": changeRole,
	"die":    dieRole,
	"unsure": unsureRole,
	"other":  otherRole,
}

func TestMain(m *testing.M) {
	fleettest.Play()
	if role := os.Getenv("DOGPILE_FILE_TEST"); role != "" {
		args := strings.Split(role, "\n")
		if err := roles[args[0]](args[1], args[2:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child is a process at work.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
}

func launch(t testing.TB, attr *syscall.SysProcAttr, role, path string, args ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(os.Args[0]), lines: make(chan string, 1<<10)}
	c.cmd.Env = append(os.Environ(), "DOGPILE_FILE_TEST="+strings.Join(append([]string{role, path}, args...), "\n"), "GORACE=atexit_sleep_ms=0")
	if attr == nil {
		attr = &syscall.SysProcAttr{}
	}
	attr.Pdeathsig = syscall.SIGKILL
	c.cmd.SysProcAttr = attr
	c.cmd.Stderr = os.Stderr
	var err error
	c.in, err = c.cmd.StdinPipe()
	ok(t, err)
	out, err := c.cmd.StdoutPipe()
	ok(t, err)
	ok(t, c.cmd.Start())
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(c.kill)
	return c
}

// await returns the next line that the process prints.
func (c *child) await() string {
	c.t.Helper()
	limit := time.NewTimer(3 * slow)
	defer limit.Stop()
	select {
	case line, open := <-c.lines:
		if !open {
			c.t.Fatal("the process ended without a word")
		}
		return line
	case <-limit.C:
		c.t.Fatal("waited in vain for a process")
	}
	return ""
}

// says fails the test unless the next line is this one.
func (c *child) says(want string) {
	c.t.Helper()
	if got := c.await(); got != want {
		c.t.Fatalf("the process says %q, want %q", got, want)
	}
}

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	ok(c.t, c.cmd.Process.Signal(s))
}

// goOn lets a process go on that waits for that.
func (c *child) goOn() { _, _ = io.WriteString(c.in, "\n") }

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// proceed waits for goOn.
func proceed() error {
	_, err := io.ReadFull(os.Stdin, make([]byte, 1))
	return err
}

// holdRole takes a lease, and when it may go on stores under it.
func holdRole(path string, args []string) error {
	ctx := context.Background()
	b, err := file.Open(ctx, path, &file.Options{Timeout: slow})
	if err != nil {
		return err
	}
	ttl, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	l, err := b.TryLock(ctx, args[0], ttl)
	if err != nil || l == nil {
		return fmt.Errorf("TryLock = %v, %w", l, err)
	}
	fmt.Println("held")
	if err := proceed(); err != nil {
		return err
	}
	items := []driver.Item{{Key: args[0], Data: []byte("the holder's"), Lease: l}}
	fmt.Println(b.Set(ctx, items), items[0].Err, l.Extend(ctx, ttl))
	return proceed()
}

func TestKilledHolderFreesItsKeys(t *testing.T) {
	t.Parallel()
	// 1. Another process takes the lease for an hour.  2. Several wait for it.
	// 3. It is killed.  4. All wake, and one of them has the lease.
	b := open(t, place(t), nil)
	c := launch(t, nil, "hold", b.Path(), "k", "1h")
	c.says("held")
	if l, err := b.TryLock(t.Context(), "k", time.Minute); l != nil || err != nil {
		t.Fatalf("TryLock of what another process holds = %v, %v", l, err)
	}
	if locked, err := b.Locked(t.Context(), "k"); !locked || err != nil {
		t.Errorf("Locked = %v, %v", locked, err)
	}
	awake := make(chan error, 4)
	ctx, cancel := context.WithTimeout(t.Context(), 3*slow)
	defer cancel()
	for range cap(awake) {
		go func() { awake <- b.Wait(ctx, "k") }()
	}
	select {
	case err := <-awake:
		t.Errorf("Wait of what another process holds = %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	c.kill()
	for range cap(awake) {
		ok(t, <-awake)
	}
	if locked, err := b.Locked(t.Context(), "k"); locked || err != nil {
		t.Errorf("Locked after the holder was killed = %v, %v", locked, err)
	}
	hold(t, b, "k", time.Minute)
}

func TestStoppedHolderLosesItsLease(t *testing.T) {
	t.Parallel()
	// 1. Another process takes the lease and is stopped.  2. The lease runs out.
	// 3. We take it and store.  4. The other goes on and stores: refused.
	b := open(t, place(t), nil)
	c := launch(t, nil, "hold", b.Path(), "k", "300ms")
	c.says("held")
	c.signal(syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 3*slow)
	defer cancel()
	var l driver.Lease
	for l == nil {
		ok(t, b.Wait(ctx, "k"))
		var err error
		l, err = b.TryLock(ctx, "k", time.Hour)
		ok(t, err)
	}
	c.signal(syscall.SIGCONT)
	c.goOn()
	c.says("<nil> lease lost lease lost")
	want(t, b, "k", "")
	items := []driver.Item{{Key: "k", Data: []byte("ours"), Lease: l}}
	ok(t, errors.Join(b.Set(ctx, items), items[0].Err))
	want(t, b, "k", "ours")
}

func TestWaiterWakesWhenAnotherProcessReleases(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), nil)
	c := launch(t, nil, "hold", b.Path(), "k", "1h")
	c.says("held")
	ctx, cancel := context.WithTimeout(t.Context(), 3*slow)
	defer cancel()
	awake := make(chan error, 1)
	go func() { awake <- b.Wait(ctx, "k") }()
	c.goOn()
	ok(t, <-awake)
	want(t, b, "k", "the holder's")
	c.says("<nil> <nil> lease lost")
}

// countRole adds to counters in the cache, each time under the lease, and tells
// how often it could.
func countRole(path string, args []string) error {
	ctx := context.Background()
	b, err := file.Open(ctx, path, &file.Options{Timeout: slow})
	if err != nil {
		return err
	}
	defer b.Close()
	fmt.Println("ready")
	if err := proceed(); err != nil {
		return err
	}
	rounds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	added := 0
	for i := range rounds {
		key := fmt.Sprint("counter", i%3)
		l, err := b.TryLock(ctx, key, time.Hour)
		if err != nil {
			return err
		}
		if l == nil {
			if err := b.Wait(ctx, key); err != nil {
				return err
			}
			continue
		}
		items := []driver.Item{{Key: key, Lease: l}}
		if err := b.Get(ctx, items); err != nil {
			return err
		}
		n, _ := strconv.Atoi(string(items[0].Data))
		items[0].Data = []byte(strconv.Itoa(n + 1))
		if err := errors.Join(b.Set(ctx, items), items[0].Err); err != nil {
			return err
		}
		added++
	}
	fmt.Println(added)
	return nil
}

func TestProcessesThatCountTogether(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), nil)
	var all []*child
	for range 4 {
		all = append(all, launch(t, nil, "count", b.Path(), "300"))
	}
	for _, c := range all {
		c.says("ready")
	}
	for _, c := range all {
		c.goOn()
	}
	sum, found := 0, 0
	for _, c := range all {
		n, err := strconv.Atoi(c.await())
		ok(t, err)
		sum += n
	}
	for i := range 3 {
		n, err := strconv.Atoi(get(t, b, fmt.Sprint("counter", i)))
		ok(t, err)
		found += n
	}
	if found != sum || sum < 300 {
		t.Errorf("%d were added, and %d are there", sum, found)
	}
}
