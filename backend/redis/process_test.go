package redis_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
)

// task is what a process does that a test has started of this binary.
type task struct {
	Role       string
	URL, Admin string // the cache, and the server on which the world outside is
	Keys       int
	Goroutines int
	For        time.Duration
	Creating   time.Duration // how long a creator takes
	Expiration time.Duration
	LockTTL    time.Duration
	Value      string
}

// event is what a process tells: an operation and when, by the clock that the
// processes of one machine share.
type event struct {
	Op         string
	Key        string
	N          int64 // the version of the origin; of a read, what it found
	Start, End int64
	Err        string
}

// child is a process at work.
type child struct {
	t      testing.TB
	cmd    *exec.Cmd
	in     io.WriteCloser
	events chan event
}

func launch(t testing.TB, k task) *child {
	t.Helper()
	text, err := json.Marshal(k)
	ok(t, err)
	c := &child{t: t, cmd: exec.Command(os.Args[0]), events: make(chan event, 1<<16)}
	c.cmd.Env = append(os.Environ(), "DOGPILE_TEST_ROLE="+string(text))
	c.cmd.SysProcAttr = dieWithParent()
	c.cmd.Stderr = os.Stderr
	c.in, err = c.cmd.StdinPipe()
	ok(t, err)
	out, err := c.cmd.StdoutPipe()
	ok(t, err)
	ok(t, c.cmd.Start())
	go func() {
		defer close(c.events)
		for d := json.NewDecoder(bufio.NewReader(out)); ; {
			var e event
			if d.Decode(&e) != nil {
				return
			}
			c.events <- e
		}
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	})
	return c
}

// await returns the next event with this op; others are passed over.
func (c *child) await(op string) event {
	c.t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case e, open := <-c.events:
			if !open {
				c.t.Fatalf("the process ended without telling of %q", op)
			}
			if e.Op == op {
				return e
			}
		case <-limit:
			c.t.Fatalf("waited in vain for a process to tell of %q", op)
		}
	}
}

// rest returns all that the process tells until it ends.
func (c *child) rest() (all []event) {
	for e := range c.events {
		all = append(all, e)
	}
	return all
}

// worker is the inside of a child.
type worker struct {
	task
	admin  rueidis.Client
	region *dogpile.Region
	cache  *dogpile.Cache[int64]

	mu  sync.Mutex
	out *bufio.Writer
}

func play(role string) int {
	w := &worker{out: bufio.NewWriter(os.Stdout)}
	err := json.Unmarshal([]byte(role), &w.task)
	if err == nil {
		err = w.run()
	}
	w.out.Flush()
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		return 1
	}
	return 0
}

func (w *worker) run() error {
	b, err := redis.Open(context.Background(), w.URL, &redis.Options{Timeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer b.Close()
	if w.admin, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{w.Admin}, ForceSingleClient: true, DisableCache: true}); err != nil {
		return err
	}
	defer w.admin.Close()
	w.region = dogpile.NewRegion("r")
	if err := w.region.Configure(b, &dogpile.Options{
		Expiration: w.Expiration, StaleFor: time.Hour, LockTTL: w.LockTTL, CreateTimeout: dogpile.Never,
	}); err != nil {
		return err
	}
	w.cache = dogpile.NewCache[int64](w.region, nil)
	w.tell(event{Op: "ready"}, true)
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	switch w.Role {
	case "create":
		return w.createOnce()
	case "stampede":
		w.each(w.stampede)
	case "storm":
		w.each(w.storm)
	case "history":
		w.each(w.history)
	}
	return nil
}

func (w *worker) tell(e event, now bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text, _ := json.Marshal(e)
	w.out.Write(append(text, '\n'))
	if now {
		w.out.Flush()
	}
}

func (w *worker) each(do func(n int, until time.Time)) {
	var wg sync.WaitGroup
	until := time.Now().Add(w.For)
	for n := range w.Goroutines {
		wg.Go(func() { do(n, until) })
	}
	wg.Wait()
}

// createOnce tells when its creator begins and what came of it.
func (w *worker) createOnce() error {
	start := time.Now().UnixNano()
	v, err := w.cache.GetOrCreate(context.Background(), "k", func(ctx context.Context) (int64, error) {
		w.tell(event{Op: "creating"}, true)
		pause(w.Creating)
		return strconv.ParseInt(w.Value, 10, 64)
	})
	w.tell(event{Op: "done", N: v, Start: start, End: time.Now().UnixNano(), Err: text(err)}, true)
	return nil
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// stampede asks for one key, once, with all the others.
func (w *worker) stampede(int, time.Time) {
	start := time.Now().UnixNano()
	v, err := w.cache.GetOrCreate(context.Background(), "k", func(context.Context) (int64, error) {
		begin := time.Now().UnixNano()
		pause(w.Creating)
		w.tell(event{Op: "create", N: begin, Start: begin, End: time.Now().UnixNano()}, false)
		return begin, nil
	})
	w.tell(event{Op: "done", N: v, Start: start, End: time.Now().UnixNano(), Err: text(err)}, false)
}

// storm asks for one key all the time.
func (w *worker) storm(_ int, until time.Time) {
	for time.Now().Before(until) {
		start := time.Now().UnixNano()
		_, err := w.cache.GetOrCreate(context.Background(), "k", func(context.Context) (int64, error) {
			begin := time.Now().UnixNano()
			pause(w.Creating)
			w.tell(event{Op: "create", Start: begin, End: time.Now().UnixNano()}, false)
			return begin, nil
		})
		end := time.Now().UnixNano()
		if slow := time.Duration(end-start) >= w.Creating/2; slow || err != nil {
			w.tell(event{Op: "slow", Start: start, End: end, Err: text(err)}, false)
		}
		pause(5 * time.Millisecond)
	}
}

// origin reads or counts up what the cache is a cache of.
func (w *worker) origin(command, key string) int64 {
	n, err := w.admin.Do(context.Background(), w.admin.B().Arbitrary(command).Keys("origin:"+key).Build()).AsInt64()
	if err != nil && !rueidis.IsRedisNil(err) {
		panic(err)
	}
	return n
}

// history does anything, and tells of all of it. Before it changes something in
// the cache it counts up the origin. What creators read there is stored as even
// numbers, what is Set as odd ones.
func (w *worker) history(n int, until time.Time) {
	ctx := context.Background()
	rnd := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(n)))
	var ops atomic.Int64
	for time.Now().Before(until) {
		key := fmt.Sprint("k", rnd.IntN(w.Keys))
		e := event{Key: key, Op: "read"}
		var err error
		switch op := rnd.IntN(100); {
		case op < 88:
			e.Start = time.Now().UnixNano()
			e.N, err = w.cache.GetOrCreate(ctx, key, func(context.Context) (int64, error) {
				v := w.origin("GET", key)
				pause(time.Duration(rnd.IntN(5)) * time.Millisecond)
				return 2 * v, nil
			})
		case op < 94:
			e.Op, e.N = "delete", w.origin("INCR", key)
			e.Start = time.Now().UnixNano()
			err = w.cache.Delete(ctx, key)
		case op < 98:
			e.Op, e.N = "set", w.origin("INCR", key)
			e.Start = time.Now().UnixNano()
			err = w.cache.Set(ctx, key, 2*e.N+1)
		default:
			e.Op, e.N = "invalidate", w.origin("INCR", key)
			e.Start = time.Now().UnixNano()
			err = w.region.Invalidate(ctx, dogpile.Hard)
		}
		e.End, e.Err = time.Now().UnixNano(), text(err)
		w.tell(e, ops.Add(1)%64 == 0)
		pause(time.Duration(rnd.IntN(3)) * time.Millisecond)
	}
}
