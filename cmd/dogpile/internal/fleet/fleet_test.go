package fleet_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/fleet"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/load"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		roles[os.Args[1]]()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// roles are what this binary does as a process of a fleet.
var roles = map[string]func(){
	"serve": serve,
	"die":   func() { os.Exit(3) },
	"leave": func() {},
	"hang":  func() { io.Copy(io.Discard, os.Stdin) },
	"babble": func() {
		fmt.Println("hello")
		serve()
	},
	// The first of them dies, at the path that comes next.
	"one-dies": func() {
		if os.Mkdir(os.Args[2], 0o700) == nil {
			os.Exit(3)
		}
		serve()
	},
}

func serve() {
	if err := fleet.Serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func fleetOf(size int, args ...string) *fleet.Fleet {
	return &fleet.Fleet{Command: append([]string{os.Args[0]}, args...), Backend: "memory", Size: size}
}

func task(mode demo.Mode, end time.Duration, requests ...load.Request) *demo.Task {
	return &demo.Task{Mode: mode, Requests: requests, End: end, Clients: len(requests), Expiration: time.Hour, Prefix: "test:"}
}

// Three processes, each with a cache of its own, ask for one key at once. The
// origin does not answer before all have asked; a fourth call would be one too
// many.
func TestProcessesRunAtOnce(t *testing.T) {
	t.Parallel()
	for _, mode := range []demo.Mode{demo.Coalesced, demo.Dogpile} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			all := make(chan struct{})
			create := func(ctx context.Context, key string) ([]byte, error) {
				if asked.Add(1) == 3 {
					close(all)
				}
				select {
				case <-all:
					return []byte(key), nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			var requests []load.Request
			for i := range 10 {
				requests = append(requests, load.Request{At: time.Duration(i), Key: "/a"})
			}
			requests = append(requests, load.Request{At: time.Second, Key: "/a"})
			run := fleetOf(3, "serve").Start(t.Context(), task(mode, time.Minute, requests...), create)
			before := time.Now()
			start, outcomes, err := run.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if len(outcomes) != 11 || slices.ContainsFunc(outcomes, func(o demo.Outcome) bool { return o.End != demo.Answered || o.Waited <= 0 }) {
				t.Errorf("outcomes %v", outcomes)
			}
			if c := run.Counts(); c != (demo.Counts{Answered: 11, Creations: 3}) || asked.Load() != 3 {
				t.Errorf("counts %+v; the origin was asked %d times", c, asked.Load())
			}
			if start.Before(before) || time.Since(start) < time.Second {
				t.Errorf("the run began at %v, before %v", start, before)
			}
		})
	}
}

// A request that the origin does not answer is cut off at the end, and so is the
// origin; one that it refuses has failed; one that is due later is not made.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	var cut atomic.Bool
	create := func(ctx context.Context, key string) ([]byte, error) {
		if key == "/fails" {
			return nil, errors.New("no such tile")
		}
		<-ctx.Done()
		cut.Store(true)
		return nil, ctx.Err()
	}
	k := task(demo.None, 5*time.Second,
		load.Request{Key: "/hangs"}, load.Request{Key: "/fails"}, load.Request{At: time.Hour, Key: "/late"})
	run := fleetOf(2, "serve").Start(t.Context(), k, create)
	_, outcomes, err := run.Wait()
	if err != nil {
		t.Fatal(err)
	}
	var ends []demo.End
	for _, o := range outcomes {
		ends = append(ends, o.End)
	}
	if !slices.Equal(ends, []demo.End{demo.Unanswered, demo.Failed, demo.Unanswered}) {
		t.Errorf("outcomes %v", outcomes)
	}
	if c := run.Counts(); c != (demo.Counts{Creations: 2, Errors: 1}) {
		t.Errorf("counts %+v", c)
	}
	if !cut.Load() {
		t.Error("the origin still works")
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	unknown := fleetOf(2, "serve")
	unknown.Backend = "nosuch://user:hunter2@host"
	absent := fleetOf(2)
	absent.Command = []string{filepath.Join(t.TempDir(), "absent")}
	silent := fleetOf(2, "hang")
	silent.Silence = 100 * time.Millisecond
	rows := []struct {
		name  string
		fleet *fleet.Fleet
		want  string
	}{
		{"all die", fleetOf(2, "die"), "has ended too early: exit status 3"},
		{"one dies", fleetOf(3, "one-dies", filepath.Join(t.TempDir(), "first")), "of 3 has ended too early: exit status 3"},
		{"they leave", fleetOf(2, "leave"), "has ended too early: exit status 0"},
		{"they hang", silent, "of 2 hangs: it has said nothing for 100ms"},
		{"they babble", fleetOf(2, "babble"), "is not understood"},
		{"no backend", unknown, `has failed: unknown backend "nosuch"`},
		{"no program", absent, "does not start"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			k := task(demo.None, time.Hour, load.Request{At: time.Hour, Key: "/a"}, load.Request{At: time.Hour, Key: "/b"})
			start, outcomes, err := row.fleet.Start(t.Context(), k, nil).Wait()
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.HasPrefix(err.Error(), "process ") {
				t.Fatalf("error %v, want %q", err, row.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a secret: %v", err)
			}
			if !start.IsZero() || outcomes != nil {
				t.Errorf("start %v, outcomes %v of a run that failed", start, outcomes)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{}, 1)
	create := func(ctx context.Context, _ string) ([]byte, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	run := fleetOf(2, "serve").Start(ctx, task(demo.Dogpile, time.Hour, load.Request{Key: "/a"}), create)
	<-asked
	cancel()
	if _, outcomes, err := run.Wait(); !errors.Is(err, context.Canceled) || outcomes != nil {
		t.Errorf("outcomes %v, error %v", outcomes, err)
	}
}

// A process ends when nobody is left to give it orders, here in the middle of a
// run of an hour.
func TestProcessEndsWithItsInput(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "serve")
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	expect := func(want string) {
		t.Helper()
		for said.Scan() && !strings.HasPrefix(said.Text(), want) {
			if !strings.HasPrefix(said.Text(), `{"Counts":`) { // it says how far it is from time to time
				t.Fatalf("the process said %q, want %q", said.Text(), want)
			}
		}
		if !strings.HasPrefix(said.Text(), want) {
			t.Fatalf("the process has ended, and did not say %q", want)
		}
	}
	fmt.Fprintln(in, `{"Backend":"memory","Task":{"Mode":"none","Requests":[{"At":0,"Key":"/a"}],"Clients":1,"End":3600000000000,"Expiration":1}}`)
	expect(`{"Ready":true}`)
	fmt.Fprintf(in, `{"Start":%q}`, time.Now().Format(time.RFC3339Nano))
	expect(`{"Want":{"ID":1,"Key":"/a"}}`)
	expect(`{"Counts":{"Answered":0,"Creations":1,`)
	in.Close()
	for said.Scan() {
		if !strings.HasPrefix(said.Text(), `{"Counts":`) {
			t.Fatalf("the process said %q", said.Text())
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("the process ended with %v", err)
	}
}

func TestServeWithoutTask(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"", "no JSON", "{}"} {
		var out strings.Builder
		if err := fleet.Serve(strings.NewReader(in), &out); err == nil || out.String() != "" {
			t.Errorf("%q: error %v, output %q", in, err, out.String())
		}
	}
}
