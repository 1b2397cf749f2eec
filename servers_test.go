package dogpile_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// cluster is a backend of several servers. What a process believes of them may be out
// of date, as on a Redis Cluster: that changes what Shard says, and a key is kept where
// it belongs all the same.
type cluster struct {
	servers  []*fake
	believes *atomic.Pointer[func(key string) int] // which server keeps a key
}

// serverTimeout is how long a cluster waits for one of its servers.
const serverTimeout = time.Second

func newCluster(t *testing.T, n int, l like) *cluster {
	t.Helper()
	c := new(cluster)
	for range n {
		c.servers = append(c.servers, newFake(t, l))
	}
	return c.seenAs(c.keeper)
}

// seenAs returns the cluster as a process sees it that believes something else.
func (c *cluster) seenAs(believes func(key string) int) *cluster {
	view := &cluster{servers: c.servers, believes: new(atomic.Pointer[func(string) int])}
	view.believes.Store(&believes)
	return view
}

// keeper returns which server keeps key.
func (c *cluster) keeper(key string) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32()>>8) % len(c.servers)
}

// moved returns what a process believes to which keys belong to other servers than to
// those that see them rightly, and not all keys of one server to the same.
func (c *cluster) moved(by int) func(key string) int {
	return func(key string) int { return c.keeper(fmt.Sprint(by, key)) }
}

func (c *cluster) Caps() driver.Caps { return c.servers[0].Caps() }

func (c *cluster) Shard(key string) string { return fmt.Sprint("server", (*c.believes.Load())(key)) }

// spread calls do for each server with the positions of its keys, all at once.
func (c *cluster) spread(ctx context.Context, keys []string, do func(ctx context.Context, f *fake, at []int) error) []error {
	at := make([][]int, len(c.servers))
	for i, key := range keys {
		n := c.keeper(key)
		at[n] = append(at[n], i)
	}
	errs := make([]error, len(keys))
	var wg sync.WaitGroup
	for n, own := range at {
		if len(own) == 0 {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, serverTimeout)
			defer cancel()
			err := do(ctx, c.servers[n], own)
			for _, i := range own {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errs
}

func (c *cluster) items(ctx context.Context, items []driver.Item, do func(ctx context.Context, f *fake, items []driver.Item) error) error {
	errs := c.spread(ctx, keysOf(items), func(ctx context.Context, f *fake, at []int) error {
		own := make([]driver.Item, len(at))
		for n, i := range at {
			own[n] = items[i]
		}
		err := do(ctx, f, own)
		for n, i := range at {
			items[i] = own[n]
		}
		return err
	})
	if !slices.Contains(errs, nil) {
		return errors.Join(errs...)
	}
	for i, err := range errs {
		if err != nil {
			items[i].Err = err
		}
	}
	return nil
}

func (c *cluster) Get(ctx context.Context, items []driver.Item) error {
	return c.items(ctx, items, func(ctx context.Context, f *fake, items []driver.Item) error { return f.Get(ctx, items) })
}

func (c *cluster) Set(ctx context.Context, items []driver.Item) error {
	return c.items(ctx, items, func(ctx context.Context, f *fake, items []driver.Item) error { return f.Set(ctx, items) })
}

func (c *cluster) Delete(ctx context.Context, keys []string) error {
	errs := c.spread(ctx, keys, func(ctx context.Context, f *fake, at []int) error {
		own := make([]string, len(at))
		for n, i := range at {
			own[n] = keys[i]
		}
		return f.Delete(ctx, own)
	})
	return cmp.Or(errs...) // a server that is down is told of once
}

func (c *cluster) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	return c.servers[c.keeper(key)].TryLock(ctx, key, ttl)
}

func (c *cluster) Wait(ctx context.Context, key string) error {
	return c.servers[c.keeper(key)].Wait(ctx, key)
}

func (c *cluster) Locked(ctx context.Context, key string) (bool, error) {
	return c.servers[c.keeper(key)].Locked(ctx, key)
}

// keysOn returns n keys that one server keeps, under the prefix of the regions in tests.
func (c *cluster) keysOn(server, n int) []string {
	var keys []string
	for i := 0; len(keys) < n; i++ {
		if key := fmt.Sprint("k", i); c.keeper("test:"+key) == server {
			keys = append(keys, key)
		}
	}
	return keys
}

// called returns how often all servers have been called.
func (c *cluster) called(op string) []int {
	n := make([]int, len(c.servers))
	for i, f := range c.servers {
		n[i] = f.called(op)
	}
	return n
}

// TestOneServerOfFourIsDown: its own entries are lost and no others, whichever it is.
func TestOneServerOfFourIsDown(t *testing.T) {
	for how, trouble := range map[string]func(...string) trouble{"refuses": failing, "hangs": hanging} {
		for down := range 4 {
			t.Run(fmt.Sprintf("server %d %s", down, how), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newCluster(t, 4, like{bytes: true})
					c := dogpile.NewCache[int](newRegion(t, b, nil), nil)
					oneServerIsDown(t, b, c, down, func() {
						b.servers[down].in(trouble("get", "set", "delete", "lock", "wait", "locked"))
					})
				})
			})
		}
	}
}

func oneServerIsDown(t *testing.T, b *cluster, c *dogpile.Cache[int], down int, stop func()) {
	vals, all := make(map[string]int), []string{}
	for server := range b.servers {
		for _, key := range b.keysOn(server, 25) {
			vals[key], all = server, append(all, key)
		}
	}
	wantErr(t, "SetMulti", c.SetMulti(bg, vals), nil)
	stop()
	began := time.Now()
	got, err := c.GetMulti(bg, all)
	if wantBackendErr(t, "GetMulti", err); len(got) != 75 || time.Since(began) > serverTimeout {
		t.Errorf("GetMulti found %d of 75 after %v", len(got), time.Since(began))
	}
	for server := range b.servers {
		if server == down {
			continue
		}
		for _, key := range b.keysOn(server, 25) {
			v, ok, err := c.Get(bg, key)
			if wantValue(t, "Get", v, err, server); !ok {
				t.Errorf("%s of server %d is missing", key, server)
			}
			v, err = c.GetOrCreate(bg, key, constant(-1).create)
			wantValue(t, "GetOrCreate", v, err, server)
		}
		wantErr(t, "Set", c.Set(bg, b.keysOn(server, 1)[0], server), nil)
	}
	began = time.Now()
	err = c.SetMulti(bg, vals)
	if wantBackendErr(t, "SetMulti", err); strings.Count(err.Error(), ";") != 24 || time.Since(began) > 2*serverTimeout {
		t.Errorf("SetMulti failed for others than the 25, or took %v: %v", time.Since(began), err)
	}
	var calls [][]string
	got, err = c.GetOrCreateMulti(bg, all, many(-100, &calls))
	if err != nil || len(got) != 100 || len(calls) != 1 || len(calls[0]) != 25 {
		t.Errorf("GetOrCreateMulti: %v, %d values, created for %v", err, len(got), calls)
	}
	own := b.keysOn(down, 1)[0]
	v, err := c.GetOrCreate(bg, own, constant(42).create)
	wantValue(t, "GetOrCreate of a lost entry", v, err, 42)
}

// An entry and the token that it is judged by come in one answer of one server.
func TestAReadAsksOneServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newCluster(t, 4, like{bytes: true})
		c := dogpile.NewCache[int](newRegion(t, b, nil), nil)
		for server := range b.servers {
			key := b.keysOn(server, 1)[0]
			wantErr(t, "Set", c.Set(bg, key, 1), nil)
			before := b.called("get")
			v, _, err := c.Get(bg, key)
			wantValue(t, "Get", v, err, 1)
			before[server]++
			if after := b.called("get"); !slices.Equal(after, before) {
				t.Errorf("a key of server %d: servers were asked %v times, want %v", server, after, before)
			}
		}
	})
}

// A batch is read with one call of each server, created in one and stored in one.
func TestABatchOverSeveralServers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newCluster(t, 4, like{bytes: true})
		_, cs := processes[int](t, 2, b, nil)
		var all []string
		for server := range b.servers {
			all = append(all, b.keysOn(server, 5)...)
			wantErr(t, "Set", cs[0].Set(bg, b.keysOn(server, 6)[5], 1), nil) // so that there are tokens
		}
		gets, sets := b.called("get"), b.called("set")
		var calls [][]string
		got, err := cs[0].GetOrCreateMulti(bg, all, many(0, &calls))
		if err != nil || len(got) != 20 || len(calls) != 1 {
			t.Errorf("%d values, %d creations, %v", len(got), len(calls), err)
		}
		for server := range b.servers {
			gets[server], sets[server] = gets[server]+2, sets[server]+1 // and again under the leases
		}
		if !slices.Equal(b.called("get"), gets) || !slices.Equal(b.called("set"), sets) {
			t.Errorf("Get was called %v times, Set %v; want %v and %v", b.called("get"), b.called("set"), gets, sets)
		}
		vals, err := cs[1].GetMulti(bg, all)
		if wantErr(t, "GetMulti elsewhere", err, nil); len(vals) != 20 {
			t.Errorf("another process finds %d of 20", len(vals))
		}
	})
}

func TestInvalidateReachesTheEntriesOfAllServers(t *testing.T) {
	for mode, want := range map[dogpile.Mode]dogpile.State{dogpile.Hard: dogpile.Invalidated, dogpile.Soft: dogpile.Stale} {
		for _, lag := range []time.Duration{0, time.Minute} {
			t.Run(fmt.Sprintf("%v, lag %v", mode, lag), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newCluster(t, 4, like{bytes: true})
					rs, cs := processes[int](t, 2, b, &dogpile.Options{InvalidationLag: lag})
					for range 3 { // the second and third time all tokens are there
						for server := range b.servers {
							key := b.keysOn(server, 1)[0]
							wantErr(t, "Set", cs[0].Set(bg, key, 1), nil)
							if _, ok, err := cs[1].Get(bg, key); !ok || err != nil {
								t.Errorf("before: %v, %v", ok, err)
							}
						}
						wantErr(t, "Invalidate", rs[0].Invalidate(bg, mode), nil)
						pass(lag)
						for server := range b.servers {
							e, ok, err := cs[1].Peek(bg, b.keysOn(server, 1)[0])
							if !ok || err != nil || e.State != want {
								t.Errorf("server %d: %v, %v, %v; want %v", server, e.State, ok, err, want)
							}
						}
					}
				})
			})
		}
	}
}

// A token that is trusted for a while is not asked for, on any server.
func TestTokensOfSeveralServersAreTrustedForTheLag(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newCluster(t, 4, like{bytes: true})
		c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{InvalidationLag: time.Minute}), nil)
		var keys []string
		for server := range b.servers {
			keys = append(keys, b.keysOn(server, 1)...)
			wantErr(t, "Set", c.Set(bg, keys[server], server), nil)
		}
		var asked atomic.Int64
		for _, f := range b.servers {
			f.in(func(_ context.Context, op string, keys []string) error {
				if op == "get" && slices.ContainsFunc(keys, func(key string) bool { return strings.Contains(key, "_inv:") }) {
					asked.Add(1)
				}
				return nil
			})
		}
		if vals, err := c.GetMulti(bg, keys); len(vals) != 4 || err != nil || asked.Load() != 0 {
			t.Errorf("%v, %v; tokens were asked for %d times, want 0", vals, err, asked.Load())
		}
		pass(time.Minute)
		if vals, err := c.GetMulti(bg, keys); len(vals) != 4 || err != nil || asked.Load() != 4 {
			t.Errorf("%v, %v; tokens were asked for %d times, want 4", vals, err, asked.Load())
		}
	})
}

// An invalidation that cannot reach a server says so, and reaches the others.
func TestInvalidateWhileAServerIsDown(t *testing.T) {
	for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft} {
		for how, trouble := range map[string]func(...string) trouble{"refuses": failing, "hangs": hanging} {
			t.Run(fmt.Sprintf("%v, it %s", mode, how), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newCluster(t, 4, like{bytes: true})
					r := newRegion(t, b, nil)
					c := dogpile.NewCache[int](r, nil)
					for server := range b.servers {
						wantErr(t, "Set", c.Set(bg, b.keysOn(server, 1)[0], 1), nil)
					}
					b.servers[2].in(trouble("get", "set", "delete", "lock", "wait"))
					began := time.Now()
					err := r.Invalidate(bg, mode)
					if wantErr(t, "Invalidate", err, dogpile.ErrBackend); !contains(err, "server2") || contains(err, "server1") || contains(err, "\n") {
						t.Errorf("%v does not name the server that is down, and no other", err)
					}
					if took := time.Since(began); took > 2*serverTimeout {
						t.Errorf("it took %v", took)
					}
					b.servers[2].in(nil)
					for server := range b.servers {
						_, ok, err := c.Get(bg, b.keysOn(server, 1)[0])
						if ok != (server == 2) || err != nil {
							t.Errorf("server %d: fresh=%v, %v", server, ok, err)
						}
					}
					wantErr(t, "Invalidate once it is back", r.Invalidate(bg, mode), nil)
					if _, ok, _ := c.Get(bg, b.keysOn(2, 1)[0]); ok {
						t.Error("the entry of server 2 is fresh")
					}
				})
			})
		}
	}
}

// A breaker ages between the two calls of an Invalidate, so that its two errors differ. They
// have one cause, which is told once.
func TestInvalidateTellsACauseOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newCluster(t, 2, like{bytes: true})
		r := newRegion(t, b, nil)
		wantErr(t, "Set", dogpile.NewCache[int](r, nil).Set(bg, b.keysOn(1, 1)[0], 1), nil)
		cause := errors.New("server1: connection refused")
		b.servers[1].in(func(_ context.Context, op string, _ []string) error {
			since := map[string]string{"set": "100ms", "delete": "200ms"}[op]
			return fmt.Errorf("the breaker is open for %s because: %w", since, cause)
		})
		err := r.Invalidate(bg, dogpile.Hard)
		if wantErr(t, "Invalidate", err, cause); strings.Count(err.Error(), "server1") != 1 {
			t.Errorf("%v names the server more than once", err)
		}
	})
}

// Soft on several servers: what Python has stored is stale, not missing.
func TestSoftInvalidationOfForeignEntriesOverServers(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) (driver.Backend, *fake, string){
		"one": func(t *testing.T) (driver.Backend, *fake, string) {
			f := newFake(t, like{bytes: true})
			return f, f, "k"
		},
		"four": func(t *testing.T) (driver.Backend, *fake, string) {
			c := newCluster(t, 4, like{bytes: true})
			return c, c.servers[1], c.keysOn(1, 1)[0]
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, f, key := open(t)
				r := newRegion(t, b, nil)
				c := dogpile.NewCache[int](r, nil)
				data := fmt.Sprintf(`{"ct": %d, "v": 2}|7`, time.Now().Unix()-5)
				wantErr(t, "Set", f.Proxy.Set(bg, []driver.Item{{Key: "test:" + key, Data: []byte(data)}}), nil)
				v, ok, err := c.Get(bg, key)
				if wantValue(t, "Get", v, err, 7); !ok {
					t.Error("missing")
				}
				wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Soft), nil)
				if e, _, err := c.Peek(bg, key); e.State != dogpile.Stale || err != nil {
					t.Errorf("%v %v", e, err)
				}
			})
		})
	}
}
