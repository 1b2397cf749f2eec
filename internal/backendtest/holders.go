//go:build unix

package backendtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// holdForGood makes a process of a test binary a holder of a lease, if the environment names
// one: it prints a line once it has the lease.
func holdForGood() {
	args := strings.Split(os.Getenv("DOGPILE_HOLD"), "\n") // URL, key and ttl
	if len(args) != 3 {
		return
	}
	t := ForExamples()
	ttl, err := time.ParseDuration(args[2])
	OK(t, err)
	b, err := driver.Open(context.Background(), args[0])
	OK(t, err)
	l, err := b.(driver.Locker).TryLock(context.Background(), args[1], ttl)
	OK(t, err)
	if l != nil {
		fmt.Println("held")
		time.Sleep(time.Hour) // it is killed
	}
}

// HoldElsewhere has another process take the lease on key over the backend that url opens. It
// holds it until kill is called.
func HoldElsewhere(t testing.TB, url, key string, ttl time.Duration) (pid int, kill func()) {
	t.Helper()
	self, err := os.Executable()
	OK(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("DOGPILE_HOLD=%s\n%s\n%v", url, key, ttl))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = dieWithParent()
	out, err := cmd.StdoutPipe()
	OK(t, err)
	OK(t, cmd.Start())
	ended := false
	kill = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" || err != nil {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return cmd.Process.Pid, kill
}

// Holders checks that each process is told which other one holds a lease: while it does, when
// it was killed, and when the next one has it. urls open backends, by the names of their rows.
func Holders(t *testing.T, urls map[string]string) {
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			holders(t, Patient(url))
		})
	}
}

func holders(t *testing.T, url string) {
	host, err := os.Hostname()
	OK(t, err)
	b, key := Open(t, url), Unique(t)
	r := Region(t, "holders", b, &dogpile.Options{Prefix: dogpile.NoPrefix})
	want := func(when string, pid int, from, to time.Time) {
		t.Helper()
		h, held, err := r.Holder(t.Context(), key)
		if !held || err != nil || h.Program != "" || h.Host != host[:min(len(host), 64)] || h.PID != pid ||
			h.Since.Before(from.Truncate(time.Millisecond)) || h.Since.After(to) {
			t.Errorf("%s, Holder = %+v, %v, %v, want process %d on %q since %v to %v", when, h, held, err, pid, host, from, to)
		}
		if sc, lists := b.(driver.Scanner); lists {
			n := 0
			OK(t, sc.Scan(t.Context(), key, func(f driver.Found) bool {
				if n++; f.Holder == nil || *f.Holder != h || f.Key != key {
					t.Errorf("%s, Scan finds %+v held by %+v", when, f, f.Holder)
				}
				return true
			}))
			if n == 0 {
				t.Errorf("%s, Scan finds nothing", when)
			}
		}
	}
	from := time.Now()
	pid, kill := HoldElsewhere(t, url, key, time.Hour)
	to := time.Now()
	want("while another process holds it", pid, from, to)
	kill()
	want("when that was killed", pid, from, to)
	OK(t, b.Delete(t.Context(), []string{key}))
	from = time.Now()
	l := Hold(t, b, key, time.Minute)
	want("when this process has taken it over", os.Getpid(), from, time.Now())
	OK(t, l.Extend(t.Context(), time.Hour))
	want("when it was extended", os.Getpid(), from, time.Now())
	OK(t, l.Release(t.Context()))
	if h, held, err := r.Holder(t.Context(), key); held || h != (driver.Holder{}) || err != nil {
		t.Errorf("after Release, Holder = %+v, %v, %v", h, held, err)
	}
	_, kill = HoldElsewhere(t, url, key, time.Second)
	kill()
	Eventually(t, "the lease to run out", func() bool {
		from = time.Now()
		l, err = b.TryLock(t.Context(), key, time.Hour)
		OK(t, err)
		return l != nil
	})
	want("when that of another has run out", os.Getpid(), from, time.Now())
}

// pythonHolds checks that a lock of Python's is told from those of programs like this one.
func pythonHolds(p *Pair) {
	py := p.start("create", "k", `"python"`, "finish")
	p.waitForLock("k")
	want := func(want driver.Holder) {
		p.Helper()
		h, held, err := p.Region.Holder(p.Context(), "k")
		if h.Since = (time.Time{}); h != want || !held || err != nil {
			p.Errorf("Holder = %+v, %v, %v, want %+v", h, held, err, want)
		}
		if _, lists := p.Region.Backend().(driver.Scanner); lists {
			n := 0
			OK(p, p.Region.Scan(p.Context(), func(f driver.Found) bool {
				if f.Holder != nil {
					n++
					if f.Holder.Since = (time.Time{}); *f.Holder != want || f.Key != "k" {
						p.Errorf("Scan finds a lease on %q, held by %+v, want %+v", f.Key, f.Holder, want)
					}
				}
				return true
			}))
			if n == 0 {
				p.Error("Scan finds no lease")
			}
		}
	}
	want(driver.Holder{Program: "python"})
	p.Put(p, "finish")
	p.Same("Python", py.result(), `"python"`)
	if h, held, err := p.Region.Holder(p.Context(), "k"); held || h != (driver.Holder{}) || err != nil {
		p.Errorf("when Python has created, Holder = %+v, %v, %v", h, held, err)
	}
	p.Python("delete", "k")
	_, err := p.Cache.GetOrCreate(p.Context(), "k", func(context.Context) (any, error) {
		host, _ := os.Hostname()
		want(driver.Holder{Host: host[:min(len(host), 64)], PID: os.Getpid()})
		p.Same("key_is_locked", p.Python("locked", "k"), "true")
		return "go", nil
	})
	OK(p, err)
}

// Scans checks that Close ends a Scan, and that there are no others afterwards.
func Scans(t *testing.T, b driver.Backend) {
	t.Helper()
	prefix := Unique(t)
	items := make([]driver.Item, 3000)
	for i := range items {
		items[i] = driver.Item{Key: fmt.Sprint(prefix, i), Data: []byte("v")}
	}
	OK(t, b.Set(t.Context(), items))
	for i := range items {
		OK(t, items[i].Err)
	}
	sc, n := b.(driver.Scanner), 0
	err := sc.Scan(t.Context(), prefix, func(driver.Found) bool {
		if n++; n == 1 {
			OK(t, driver.Close(b))
		}
		return true
	})
	if err == nil || n != 1 {
		t.Errorf("Close came in the first call of %d of found, and Scan = %v", n, err)
	}
	err = sc.Scan(t.Context(), prefix, func(driver.Found) bool { t.Error("Scan after Close finds something"); return false })
	_, _, err2 := b.(driver.Holders).Holder(t.Context(), prefix)
	if err == nil || err2 == nil {
		t.Errorf("after Close, Scan = %v and Holder = %v", err, err2)
	}
}
