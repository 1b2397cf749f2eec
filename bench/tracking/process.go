//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/sys/unix"
)

// hidden is the first argument of a process that is a client.
const hidden = "-client-of-the-measurement"

// An order is what a process is told to do: to read keys, or to tell what it has heard
// since it last told.
type order struct {
	Word   string
	Keys   int
	Report bool
}

// A hearing is an announcement that a process has had.
type hearing struct {
	Key string
	At  int64 // on the clock of now
}

// now is what the host's monotonic clock says, which is the same in all processes.
func now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

func open(addr string) (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true})
}

// obey does what it is told to until there is nobody left to tell it anything.
func obey(addr string, bcast bool) error {
	client, err := open(addr)
	if err != nil {
		return err
	}
	defer client.Close()
	c, release := client.Dedicate()
	defer release()
	var mu sync.Mutex
	heard := []hearing{}
	c.SetOnInvalidations(func(names []rueidis.RedisMessage) {
		at := now()
		mu.Lock()
		defer mu.Unlock()
		for _, m := range names {
			name, _ := m.ToString()
			heard = append(heard, hearing{name, at})
		}
	})
	args := []string{"TRACKING", "ON"}
	if bcast {
		args = append(args, "BCAST", "PREFIX", "near:")
	}
	ctx := context.Background()
	if err := c.Do(ctx, c.B().Arbitrary("CLIENT").Args(args...).Build()).Error(); err != nil {
		return err
	}
	out, in := json.NewEncoder(os.Stdout), json.NewDecoder(os.Stdin)
	told := []hearing{} // at first that tracking is on
	for {
		if err := out.Encode(told); err != nil {
			return err
		}
		var o order
		if err := in.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		told = []hearing{}
		for n := range o.Keys {
			if err := c.Do(ctx, c.B().Get().Key(key(o.Word, n)).Build()).Error(); err != nil {
				return err
			}
		}
		if o.Report {
			// The announcements of all writes that were replied to come before the answer.
			if err := c.Do(ctx, c.B().Ping().Build()).Error(); err != nil {
				return err
			}
			mu.Lock()
			told, heard = heard, []hearing{}
			mu.Unlock()
		}
	}
}

// A process is a client that obeys orders.
type process struct {
	cmd *exec.Cmd
	in  io.Closer
	out *json.Encoder
	got chan []hearing // closed when the process has ended
}

// start starts a process, and waits until the server tells it of changes.
func start(addr, mode string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self, hidden, addr, mode), got: make(chan []hearing)}
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.in, p.out = in, json.NewEncoder(in)
	go func() {
		defer close(p.got)
		for dec := json.NewDecoder(out); ; {
			var heard []hearing
			if dec.Decode(&heard) != nil {
				return
			}
			p.got <- heard
		}
	}()
	if _, err := p.answer(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *process) answer() ([]hearing, error) {
	select {
	case heard, ok := <-p.got:
		if !ok {
			return nil, errors.New("a process has ended")
		}
		return heard, nil
	case <-time.After(patience):
		return nil, fmt.Errorf("a process does not answer in %v", patience)
	}
}

func (p *process) close() {
	p.in.Close()
	for range p.got {
	}
	p.cmd.Wait()
}
