package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// seat is what one process sees of a shared backend. The changes that others make reach it
// when deliver is called, and at once where it is prompt. Its proof is renewed by deliver.
type seat struct {
	driver.Proxy
	fleet  *fleet
	prompt bool
	proven bool // marks have proofs
	slow   func(keys []string)

	watching atomic.Int64
	changes  *driver.Changes
	proof    *driver.Proof

	mu   sync.Mutex
	news []string // that have not been delivered
	gets [][]string
}

// fleet is processes that share a backend.
type fleet struct {
	mu    sync.Mutex
	seats []*seat
}

func (f *fleet) sit(b driver.Backend) *seat {
	s := &seat{Proxy: driver.Proxy{Backend: b}, fleet: f, proven: true, changes: driver.NewChanges(), proof: new(driver.Proof)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seats = append(f.seats, s)
	return s
}

func (s *seat) Caps() driver.Caps {
	c := s.Proxy.Caps()
	c.Shared, c.Name = true, "seat"
	return c
}

func (s *seat) Watch(time.Duration) (func(), bool) {
	s.watching.Add(1)
	return sync.OnceFunc(func() { s.watching.Add(-1) }), s.prompt
}

func (s *seat) Get(ctx context.Context, items []driver.Item) error {
	var keys []string
	for i := range items {
		keys = append(keys, items[i].Key)
		if it := &items[i]; it.Keep && it.Lease == nil && s.watching.Load() > 0 {
			it.Mark = s.changes.Mark(it.Key, nil)
			if s.proven {
				it.Mark.Proof = s.proof
			}
		}
	}
	s.mu.Lock()
	s.gets = append(s.gets, keys)
	s.mu.Unlock()
	err := s.Proxy.Get(ctx, items)
	if s.slow != nil {
		s.slow(keys)
	}
	return err
}

func (s *seat) Set(ctx context.Context, items []driver.Item) error {
	keys := make([]string, len(items))
	for i := range items {
		keys[i] = items[i].Key
	}
	defer s.changed(keys)
	return s.Proxy.Set(ctx, items)
}

func (s *seat) Delete(ctx context.Context, keys []string) error {
	defer s.changed(keys)
	return s.Proxy.Delete(ctx, keys)
}

func (s *seat) changed(keys []string) {
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	for _, other := range s.fleet.seats {
		other.mu.Lock()
		for _, key := range keys {
			if other == s || other.prompt {
				other.changes.Note(key)
			} else {
				other.news = append(other.news, key)
			}
		}
		other.mu.Unlock()
	}
}

// deliver has the process hear of all that has changed.
func (s *seat) deliver() {
	asked := driver.Now()
	s.mu.Lock()
	for _, key := range s.news {
		s.changes.Note(key)
	}
	s.news = nil
	s.mu.Unlock()
	s.proof.Renew(asked)
}

func (s *seat) read() (calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.gets)
}

// process is a region over a seat.
type process struct {
	*dogpile.Region
	*dogpile.Cache[string]
	seat *seat
}

func (p *process) Delete(ctx context.Context, keys ...string) error {
	return p.Region.Delete(ctx, keys...)
}

// nearProcesses returns n processes that share a backend and have a near cache.
func nearProcesses(t *testing.T, n int, o dogpile.Options, prompt bool) []*process {
	t.Helper()
	f, shared := new(fleet), newFake(t, like{bytes: true})
	all := make([]*process, n)
	for i := range all {
		s := f.sit(shared)
		s.prompt = prompt
		r := dogpile.NewRegion("near")
		wantErr(t, "Configure", r.Configure(s, &o), nil)
		t.Cleanup(func() {
			wantErr(t, "Close", r.Close(context.Background()), nil)
			if n := s.watching.Load(); n != 0 {
				t.Errorf("%d watch after Close", n)
			}
		})
		all[i] = &process{r, dogpile.NewCache[string](r, nil), s}
	}
	return all
}

func nearly(lag time.Duration) dogpile.Options {
	return dogpile.Options{Near: &dogpile.Near{Lag: lag}}
}

// gets reads a key that is made of what is in the origin.
func (p *process) gets(t *testing.T, key, want string) {
	t.Helper()
	got, err := p.GetOrCreate(bg, key, func(context.Context) (string, error) { return "made", nil })
	if err != nil || got != want {
		t.Errorf("GetOrCreate = %q, %v; want %q", got, err, want)
	}
}

// asks checks how many times the backend is read while do runs.
func (p *process) asks(t *testing.T, what string, want int, do func()) {
	t.Helper()
	before := p.seat.read()
	do()
	if got := p.seat.read() - before; got != want {
		t.Errorf("%s: the backend was read %d times, want %d", what, got, want)
	}
}

func TestNearHitsAskNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := nearProcesses(t, 1, nearly(time.Second), false)[0]
		wantErr(t, "Set", p.Set(bg, "k", "v"), nil)
		p.asks(t, "the first", 1, func() { p.gets(t, "k", "v") })
		p.asks(t, "the others", 0, func() {
			p.gets(t, "k", "v")
			if v, ok, err := p.Get(bg, "k"); v != "v" || !ok || err != nil {
				t.Errorf("Get = %q, %v, %v", v, ok, err)
			}
			if e, err := p.GetOrCreateEntry(bg, "k", nil); e.Value != "v" || e.From != dogpile.Hit || err != nil {
				t.Errorf("GetOrCreateEntry = %+v, %v", e, err)
			}
			got, err := p.GetMulti(bg, []string{"k", "k"})
			wantMap(t, "GetMulti", got, err, map[string]string{"k": "v"})
		})
		if s := p.Stats(); s.NearHits != 4 || s.Hits != 5 {
			t.Errorf("%d near hits of %d, want 4 of 5", s.NearHits, s.Hits)
		}
		pass(1001 * time.Millisecond)
		p.asks(t, "when nothing proves the copy any more", 1, func() { p.gets(t, "k", "v") })
		for range 10 {
			pass(900 * time.Millisecond)
			p.seat.deliver()
		}
		p.asks(t, "while it is proved", 0, func() { p.gets(t, "k", "v") })
	})
}

func TestNearWithoutProofsLastsForLag(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := nearProcesses(t, 1, nearly(time.Second), false)[0]
		p.seat.proven = false
		wantErr(t, "Set", p.Set(bg, "k", "v"), nil)
		p.gets(t, "k", "v")
		pass(999 * time.Millisecond)
		p.seat.deliver()
		p.asks(t, "before", 0, func() { p.gets(t, "k", "v") })
		pass(2 * time.Millisecond)
		p.asks(t, "after", 1, func() { p.gets(t, "k", "v") })
	})
}

func TestNearHearsOfChanges(t *testing.T) {
	for name, change := range map[string]func(p *process) error{
		"set":             func(p *process) error { return p.Set(bg, "k", "new") },
		"delete":          func(p *process) error { return p.Delete(bg, "k") },
		"hard":            func(p *process) error { return p.Invalidate(bg, dogpile.Hard) },
		"soft":            func(p *process) error { return p.Invalidate(bg, dogpile.Soft) },
		"hard, by tag":    func(p *process) error { return p.InvalidateTags(bg, dogpile.Hard, "t") },
		"soft, by tag":    func(p *process) error { return p.InvalidateTags(bg, dogpile.Soft, "t") },
		"refresh":         func(p *process) (err error) { _, err = p.Refresh(bg, "k", returns("new")); return err },
		"set, of several": func(p *process) error { return p.SetMulti(bg, map[string]string{"j": "", "k": "new"}) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ps := nearProcesses(t, 2, nearly(time.Second), false)
				create := func(ctx context.Context) (string, error) {
					dogpile.Creation(ctx).Tag(ctx, "t")
					return "old", nil
				}
				for _, p := range ps {
					for range 2 { // the second makes a copy
						if got, err := p.GetOrCreate(bg, "k", create); got != "old" || err != nil {
							t.Fatalf("GetOrCreate = %q, %v", got, err)
						}
					}
				}
				wantErr(t, name, change(ps[0]), nil)
				renewed := func(what string, p *process) {
					t.Helper()
					got, err := p.GetOrCreate(bg, "k", returns("new"))
					if got != "new" || err != nil {
						t.Errorf("%s: GetOrCreate = %q, %v", what, got, err)
					}
				}
				renewed("in the process that has changed it", ps[0])
				ps[1].asks(t, "until it hears of it", 0, func() { ps[1].gets(t, "k", "old") })
				ps[1].seat.deliver()
				renewed("when the other has heard of it", ps[1])
			})
		})
	}
}

func returns(v string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return v, nil }
}

// TestNearFillIsFenced:
//
//  1. A reads the entry.  2. It is changed, and A hears of that.  3. A gets what it has
//     read, and keeps no copy of it.
func TestNearFillIsFenced(t *testing.T) {
	for name, from := range map[string]int{"by this process": 0, "by another": 1} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ps := nearProcesses(t, 2, nearly(time.Second), true)
				wantErr(t, "Set", ps[0].Set(bg, "k", "old"), nil)
				ps[0].seat.slow = func([]string) {
					ps[0].seat.slow = nil
					wantErr(t, "Set", ps[from].Set(bg, "k", "new"), nil)
				}
				ps[0].gets(t, "k", "old")
				ps[0].gets(t, "k", "new")
			})
		})
	}
}

// TestNearStampedeIsOneRead: of many readers of a changed key one asks the backend.
func TestNearStampedeIsOneRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := nearProcesses(t, 1, nearly(time.Second), false)[0]
		wantErr(t, "Set", p.Set(bg, "k", "v"), nil)
		p.seat.slow = func([]string) { pass(10 * time.Millisecond) }
		p.asks(t, "50 readers", 1, func() {
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					if i%2 == 0 {
						p.gets(t, "k", "v")
						return
					}
					got, err := p.GetMulti(bg, []string{"k"})
					wantMap(t, "GetMulti", got, err, map[string]string{"k": "v"})
				})
			}
			all.Wait()
		})
	})
}

// TestNearJoinsNoReadingFromBefore: a caller that calls after a Set has returned is not given
// what another caller has begun to read before it.
func TestNearJoinsNoReadingFromBefore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := nearProcesses(t, 1, nearly(time.Second), false)[0]
		wantErr(t, "Set", p.Set(bg, "k", "old"), nil)
		reading, go1 := make(chan struct{}), make(chan struct{})
		p.seat.slow = func([]string) {
			p.seat.slow = nil
			close(reading)
			<-go1
		}
		var all sync.WaitGroup
		all.Go(func() { p.gets(t, "k", "old") })
		<-reading
		wantErr(t, "Set", p.Set(bg, "k", "new"), nil)
		all.Go(func() { p.gets(t, "k", "new") })
		pass(time.Millisecond)
		close(go1)
		all.Wait()
	})
}

// TestNearReaderThatLeavesOrFails: those who wait for its reading read by themselves, or are
// given the error of the backend.
func TestNearReaderThatLeavesOrFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := nearProcesses(t, 1, nearly(time.Second), false)[0]
		wantErr(t, "Set", p.Set(bg, "k", "v"), nil)
		ctx, leave := context.WithCancel(bg)
		reading := make(chan struct{})
		p.seat.slow = func([]string) {
			p.seat.slow = nil
			close(reading)
			<-ctx.Done()
			panic("a proxy that panics")
		}
		var all sync.WaitGroup
		all.Go(func() {
			defer func() { _ = recover() }()
			_, _, _ = p.Get(ctx, "k")
		})
		<-reading
		all.Go(func() { p.gets(t, "k", "v") })
		pass(time.Millisecond)
		leave()
		all.Wait()
	})
}

// TestNearInsideCreators: what is made of a copy would be kept for longer than the copy is.
func TestNearInsideCreators(t *testing.T) {
	for name, row := range map[string]struct {
		exact, prompt bool
		asks          int
	}{"behind": {asks: 2}, "exact": {exact: true, asks: 2}, "at once": {prompt: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := nearly(time.Second)
				o.Near.Exact = row.exact
				ps := nearProcesses(t, 2, o, row.prompt)
				create := func(ctx context.Context) (string, error) {
					dogpile.Creation(ctx).Tag(ctx, "product")
					return "product", nil
				}
				for range 2 {
					if _, err := ps[0].GetOrCreate(bg, "k", create); err != nil {
						t.Fatal(err)
					}
				}
				ps[0].asks(t, "the creator's reading", row.asks+2, func() { // the page itself, and under the lease; the entry and its tags where copies may be behind
					e, err := ps[0].GetOrCreateEntry(bg, "page", func(ctx context.Context) (string, error) {
						v, _, err := ps[0].Get(ctx, "k")
						return "page of " + v, err
					})
					if err != nil || e.Value != "page of product" || fmt.Sprint(e.Tags) != "[product]" {
						t.Errorf("the page is %+v, %v", e, err)
					}
				})
			})
		})
	}
}

// TestNearCreatorsJoinNoReading: a creator reads by itself, as what another caller has asked for
// may be as old as a copy.
func TestNearCreatorsJoinNoReading(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ps := nearProcesses(t, 2, nearly(time.Second), false)
		wantErr(t, "Set", ps[0].Set(bg, "k", "old"), nil)
		reading, gate := make(chan struct{}), make(chan struct{})
		ps[0].seat.slow = func([]string) {
			ps[0].seat.slow = nil
			close(reading)
			<-gate
		}
		var all sync.WaitGroup
		all.Go(func() { ps[0].gets(t, "k", "old") })
		<-reading
		wantErr(t, "Set by another process", ps[1].Set(bg, "k", "new"), nil)
		all.Go(func() {
			page, err := ps[0].GetOrCreate(bg, "page", func(ctx context.Context) (string, error) {
				v, _, err := ps[0].Get(ctx, "k")
				return "page of " + v, err
			})
			if page != "page of new" || err != nil {
				t.Errorf("the page is %q, %v", page, err)
			}
		})
		pass(time.Millisecond)
		close(gate)
		all.Wait()
	})
}

func TestNearTellsHooks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var got []string
		o := nearly(time.Second)
		o.Hooks = &dogpile.Hooks{Hit: func(_ context.Context, e dogpile.Event) { got = append(got, fmt.Sprint(e.Key, e.Near)) }}
		p := nearProcesses(t, 1, o, false)[0]
		wantErr(t, "Set", p.SetMulti(bg, map[string]string{"a": "1", "b": "2"}), nil)
		p.gets(t, "a", "1")
		p.gets(t, "a", "1")
		if _, err := p.GetMulti(bg, []string{"a", "b"}); err != nil {
			t.Error(err)
		}
		vals, err := p.GetOrCreateMulti(bg, []string{"a", "b"}, func(context.Context, []string) (map[string]string, error) { return nil, nil })
		wantMap(t, "GetOrCreateMulti", vals, err, map[string]string{"a": "1", "b": "2"})
		if want := "[afalse atrue atrue bfalse atrue btrue]"; fmt.Sprint(got) != want {
			t.Errorf("told %v, want %v", got, want)
		}
	})
}

func TestNearExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := nearly(time.Hour)
		o.Expiration, o.RefreshAhead = time.Minute, 0.5
		p := nearProcesses(t, 1, o, false)[0]
		v := "1"
		get := func() string {
			got, err := p.GetOrCreate(bg, "k", func(context.Context) (string, error) { return v, nil })
			wantErr(t, "GetOrCreate", err, nil)
			return got
		}
		get()
		get()
		pass(29 * time.Second)
		p.asks(t, "young", 0, func() { get() })
		pass(2 * time.Second)
		v = "2"
		if got := get(); got != "1" {
			t.Errorf("while it is renewed ahead: %q", got)
		}
		pass(time.Millisecond)
		if got := get(); got != "2" {
			t.Errorf("after it was renewed ahead: %q", got)
		}
		pass(61 * time.Second)
		v = "3"
		if got := get(); got != "3" {
			t.Errorf("past the expiration: %q", got)
		}
	})
}

func TestNearNotFound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := nearProcesses(t, 1, nearly(time.Hour), false)[0]
		none := errors.New("none")
		c := p.Cache.With(dogpile.CacheOptions[string]{NotFound: none, NotFoundFor: time.Minute})
		for range 2 {
			_, err := c.GetOrCreate(bg, "k", func(context.Context) (string, error) { return "", none })
			wantErr(t, "GetOrCreate", err, none)
		}
		p.asks(t, "known", 0, func() {
			_, ok, err := c.Get(bg, "k")
			if ok || err != none {
				t.Errorf("Get = %v, %v", ok, err)
			}
		})
		pass(61 * time.Second)
		if _, ok, err := c.Get(bg, "k"); ok || err != nil {
			t.Errorf("after its time: Get = %v, %v", ok, err)
		}
	})
}

// TestNearOfAnotherType: an entry that holds another type is missing, in a copy as elsewhere.
func TestNearOfAnotherType(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := nearProcesses(t, 1, nearly(time.Hour), false)[0]
		wantErr(t, "Set", p.Set(bg, "k", "v"), nil)
		p.gets(t, "k", "v")
		if _, ok, err := dogpile.NewCache[int](p.Region, nil).Get(bg, "k"); ok || err != nil {
			t.Errorf("Get = %v, %v", ok, err)
		}
		other := p.Cache.With(dogpile.CacheOptions[string]{Schema: "2"})
		if _, ok, err := other.Get(bg, "k"); ok || err != nil {
			t.Errorf("Get of another schema = %v, %v", ok, err)
		}
	})
}

func TestNearIsBounded(t *testing.T) {
	for name, near := range map[string]dogpile.Near{
		"entries": {MaxEntries: 100}, "bytes": {MaxBytes: 100 * 400}, "both": {MaxEntries: 100, MaxBytes: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := nearProcesses(t, 1, dogpile.Options{Near: &near}, false)[0]
				for i := range 1000 {
					key := fmt.Sprint(i)
					wantErr(t, "Set", p.Set(bg, key, key), nil)
					p.gets(t, key, key)
				}
				n := p.seat.read()
				for i := 999; i >= 0; i-- { // the last ones are there, and what comes in makes room
					p.gets(t, fmt.Sprint(i), fmt.Sprint(i))
				}
				if kept := 1000 - (p.seat.read() - n); kept > 160 || kept < 50 {
					t.Errorf("%d copies, want at most about 100", kept)
				}
			})
		})
	}
}

// TestNearExactWaits: with Exact a change returns when no process can serve an older copy.
func TestNearExactWaits(t *testing.T) {
	for name, prompt := range map[string]bool{"behind": false, "at once": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := nearly(500 * time.Millisecond)
				o.Near.Exact = true
				ps := nearProcesses(t, 2, o, prompt)
				for what, change := range map[string]func() error{
					"Set":            func() error { return ps[0].Set(bg, "k", "new") },
					"Delete":         func() error { return ps[0].Delete(bg, "k") },
					"Invalidate":     func() error { return ps[0].Invalidate(bg, dogpile.Hard) },
					"InvalidateTags": func() error { return ps[0].InvalidateTags(bg, dogpile.Hard, "t") },
				} {
					old := func(ctx context.Context) (string, error) {
						dogpile.Creation(ctx).Tag(ctx, "t")
						return "old", nil
					}
					wantErr(t, "Delete", ps[0].Delete(bg, "k"), nil)
					for range 2 {
						if _, err := ps[1].GetOrCreate(bg, "k", old); err != nil {
							t.Fatal(err)
						}
					}
					ps[1].seat.deliver()
					began := time.Now()
					wantErr(t, what, change(), nil)
					if took := time.Since(began); !prompt && (took < 500*time.Millisecond || took > 600*time.Millisecond) || prompt && took > 0 {
						t.Errorf("%s took %v", what, took)
					}
					ps[1].gets(t, "k", map[bool]string{true: "new", false: "made"}[what == "Set"])
				}
			})
		})
	}
}

func TestNearExactGivesUpWithItsCaller(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := nearly(time.Second)
		o.Near.Exact = true
		p := nearProcesses(t, 1, o, false)[0]
		ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
		defer cancel()
		err := p.Delete(ctx, "k")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `delete "k"`) || !strings.Contains(err.Error(), "may serve copies") {
			t.Errorf("Delete = %v", err)
		}
	})
}

// TestNearExactAgreesOnLag: processes with another Lag are refused, and those without copies
// wait for that of the others once they have read.
func TestNearExactAgreesOnLag(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := nearly(500 * time.Millisecond)
		o.Near.Exact = true
		ps := nearProcesses(t, 1, o, false)
		other := dogpile.NewRegion("near")
		for _, exact := range []bool{true, false} {
			err := other.Configure(ps[0].seat.fleet.sit(ps[0].seat.Backend), &dogpile.Options{Near: &dogpile.Near{Lag: time.Second, Exact: exact}})
			if err == nil || !strings.Contains(err.Error(), "Near.Lag: is 1s, and other processes") || !strings.Contains(err.Error(), "500ms") {
				t.Errorf("Exact %v: Configure = %v", exact, err)
			}
		}
		pass(10 * time.Minute) // it still says so
		without := ps[0].seat.fleet.sit(ps[0].seat.Backend)
		wantErr(t, "Configure", other.Configure(without, nil), nil)
		c := dogpile.NewCache[string](other, nil)
		if _, _, err := c.Get(bg, "k"); err != nil {
			t.Error(err)
		}
		began := time.Now()
		wantErr(t, "Set", c.Set(bg, "k", "v"), nil)
		if took := time.Since(began); took < 500*time.Millisecond {
			t.Errorf("Set without copies took %v", took)
		}
		wantErr(t, "Invalidate", other.Invalidate(bg, dogpile.Hard), nil)
		wantErr(t, "Close", ps[0].Close(bg), nil)
		// Nobody keeps copies by the old Lag any more.
		pass(time.Minute)
		wantErr(t, "Close", other.Close(bg), nil)
		pass(3 * time.Minute)
		later := dogpile.NewRegion("near")
		wantErr(t, "Configure", later.Configure(ps[0].seat.fleet.sit(ps[0].seat.Backend), &dogpile.Options{Near: &dogpile.Near{Lag: time.Second, Exact: true}}), nil)
		wantErr(t, "Close", later.Close(bg), nil)
	})
}

func TestNearIsRefused(t *testing.T) {
	t.Parallel()
	shared := newFake(t, like{bytes: true})
	unshared := newFake(t, like{unshared: true})
	seat := new(fleet).sit(shared)
	for name, row := range map[string]struct {
		b    driver.Backend
		o    dogpile.Options
		want string
	}{
		"unshared":      {unshared, dogpile.Options{Near: &dogpile.Near{}}, "Near: copies are kept of a backend that processes share, and memory is none"},
		"mute":          {shared, dogpile.Options{Near: &dogpile.Near{}}, "Near: copies need a backend that tells of changes, a driver.Watcher, and memory is none"},
		"lag":           {seat, dogpile.Options{Near: &dogpile.Near{Lag: time.Millisecond}}, "Near.Lag: 1ms is not from 10ms to 1h0m0s"},
		"negative":      {seat, dogpile.Options{Near: &dogpile.Near{MaxEntries: -1, MaxBytes: math.MinInt}}, "Near.MaxEntries: -1 is negative"},
		"never":         {seat, dogpile.Options{Near: &dogpile.Near{Lag: dogpile.Never}}, "Near.Lag: cannot be Never"},
		"exact, local":  {seat, dogpile.Options{Near: &dogpile.Near{Exact: true}, Invalidator: new(dogpile.LocalInvalidator)}, "Near.Exact: needs a SharedInvalidator"},
		"exact, lagged": {seat, dogpile.Options{Near: &dogpile.Near{Exact: true}, InvalidationLag: time.Second}, "InvalidationLag: would let"},
	} {
		err := dogpile.NewRegion("r").Configure(row.b, &row.o)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: Configure = %v, want %q", name, err, row.want)
		}
	}
	if n := seat.watching.Load(); n != 0 {
		t.Errorf("%d watch", n)
	}
}

func TestNearSettings(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		settings map[string]string
		want     *dogpile.Near
		err      string
	}{
		"all":     {map[string]string{"c.near.max_entries": "7", "c.near.max_bytes": "1000", "c.near.lag": "2s", "c.near.exact": "true"}, &dogpile.Near{MaxEntries: 7, MaxBytes: 1000, Lag: 2 * time.Second, Exact: true}, ""},
		"one":     {map[string]string{"c.near.lag": "0.5"}, &dogpile.Near{MaxEntries: 10000, Lag: 500 * time.Millisecond}, ""},
		"plain":   {map[string]string{"c.near": "true"}, &dogpile.Near{MaxEntries: 10000, Lag: time.Second}, ""},
		"off":     {map[string]string{"c.near": "false", "c.near.lag": "2s"}, nil, ""},
		"none":    {nil, nil, ""},
		"faults":  {map[string]string{"c.near.lag": "soon", "c.near.max_entries": "many"}, nil, "c.near.max_entries: is not a whole number"},
		"too low": {map[string]string{"c.near.lag": "1ms"}, nil, "c.near.lag: 1ms is not from"},
		"unknown": {map[string]string{"c.near.leg": "1s"}, nil, "c.near.leg: is unknown"},
	} {
		settings := map[string]string{"c.backend": "null"}
		maps.Copy(settings, row.settings)
		r := dogpile.NewRegion("r")
		err := r.ConfigureFrom(t.Context(), settings, "c.")
		if row.err != "" {
			if err == nil || !strings.Contains(err.Error(), row.err) {
				t.Errorf("%s: ConfigureFrom = %v, want %q", name, err, row.err)
			}
			continue
		}
		wantErr(t, name, err, nil)
		if got := dogpile.OptionsOf(r).Near; fmt.Sprint(got) != fmt.Sprint(row.want) {
			t.Errorf("%s: Near is %+v, want %+v", name, got, row.want)
		}
	}
}
