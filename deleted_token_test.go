package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

var errFull = errors.New("OOM command not allowed when used memory > 'maxmemory'")

// full makes a backend refuse tokens, and Delete work: that is what a full Redis does.
func full(_ context.Context, op string, keys []string) error {
	if op == "set" && isToken(keys) {
		return errFull
	}
	return nil
}

// TestInvalidateByDeletingTheToken: a creation that began before is not found
// afterwards, whatever it had of the token.
func TestInvalidateByDeletingTheToken(t *testing.T) {
	for name, l := range map[string]like{"objects": {}, "bytes": {bytes: true}} {
		for _, there := range []bool{false, true} { // a token, when P begins
			t.Run(fmt.Sprintf("%s/token=%v", name, there), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newFake(t, l)
					rs, cs := processes[int](t, 3, b, nil)
					if there {
						wantErr(t, "Set", cs[2].Set(bg, "token", 1), nil)
					}
					p := start(get(cs[0], "k", (&creator[int]{takes: time.Second, value: func(int64) int { return 1 }}).create))
					pass(100 * time.Millisecond)
					b.in(full)
					wantErr(t, "Invalidate", rs[1].Invalidate(bg, dogpile.Hard), nil)
					b.in(nil)
					// A token is made anew while P creates.
					q := start(get(cs[2], "q", constant(2).create))
					r := <-q
					wantValue(t, "Q", r.v, r.err, 2)
					r = <-p
					wantValue(t, "P", r.v, r.err, 1)
					for i, c := range cs {
						if v, ok, err := c.Get(bg, "k"); ok || err != nil {
							t.Errorf("process %d finds %v, %v", i, v, err)
						}
						v, ok, err := c.Get(bg, "q")
						if wantValue(t, "what was created afterwards", v, err, 2); !ok {
							t.Errorf("process %d does not find what was created afterwards", i)
						}
					}
				})
			})
		}
	}
}

// TestTokenIsDeletedWhileItIsWritten:
//
//  1. P finds no token, and takes the lease on it.
//  2. Q invalidates, which a full backend lets it do only by deleting the token.
//  3. P writes its token. The lease is revoked, so that P has to begin again, and its
//     creator runs when Invalidate has returned.
func TestTokenIsDeletedWhileItIsWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		rs, cs := processes[int](t, 2, b, nil)
		locks := 0
		b.slow = func(ctx context.Context, op string) error {
			if op == "lock" {
				if locks++; locks == 2 { // before and after the first of them
					return wait(ctx, time.Second)
				}
			}
			return nil
		}
		var began time.Time
		p := start(get(cs[0], "k", func(context.Context) (int, error) { began = time.Now(); return 1, nil }))
		pass(500 * time.Millisecond)
		b.in(full)
		wantErr(t, "Invalidate", rs[1].Invalidate(bg, dogpile.Hard), nil)
		returned := time.Now()
		b.in(nil)
		r := <-p
		wantValue(t, "P", r.v, r.err, 1)
		if began.Before(returned) || locks < 4 {
			t.Errorf("P's creator ran %v before Invalidate returned; locks were asked for %d times", returned.Sub(began), locks/2)
		}
		v, _, err := cs[1].Get(bg, "k")
		wantValue(t, "what P has stored", v, err, 1)
	})
}

// What another program has stored is valid where nothing was ever invalidated, and not
// where a token was and is gone: nobody knows what it told.
func TestEntriesOfOtherProgramsWithoutAToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		rs, cs := processes[int](t, 2, b, nil)
		wantFound := func(when string, want bool) {
			t.Helper()
			for i, c := range cs {
				if _, ok, err := c.Get(bg, "python"); ok != want || err != nil {
					t.Errorf("%s process %d finds it: %v, %v; want %v", when, i, ok, err, want)
				}
			}
		}
		python := func() {
			b.put(t, "test:python", fmt.Sprintf(`{"ct": %d, "v": 2}|7`, time.Now().Unix()))
		}
		python()
		wantFound("at first", true)
		wantErr(t, "Set", cs[0].Set(bg, "token", 1), nil)
		wantFound("with a token", true)
		b.in(full)
		wantErr(t, "Invalidate", rs[0].Invalidate(bg, dogpile.Hard), nil)
		b.in(nil)
		wantFound("without the token", false)
		pass(time.Second)
		wantErr(t, "Set", cs[1].Set(bg, "token", 1), nil)
		wantFound("with a token that was made anew", false)
		pass(2 * time.Second)
		python()
		wantFound("stored again", true)
		wantErr(t, "eviction", b.Delete(bg, []string{"test:_inv:test"}), nil)
		wantFound("with the token evicted", false)
	})
}

// put stores data under a key, as another program would.
func (f *fake) put(t *testing.T, key, data string) {
	t.Helper()
	if err := f.Proxy.Set(bg, []driver.Item{{Key: key, Data: []byte(data)}}); err != nil {
		t.Fatal(err)
	}
}

// Of four servers one is full, and perhaps one is down: only the latter is an error.
func TestInvalidateWithOneServerFull(t *testing.T) {
	for _, down := range []bool{false, true} {
		t.Run(fmt.Sprintf("one more down=%v", down), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newCluster(t, 4, like{bytes: true})
				rs, cs := processes[int](t, 2, b, nil)
				for server := range b.servers {
					wantErr(t, "Set", cs[0].Set(bg, b.keysOn(server, 1)[0], 1), nil)
				}
				b.servers[1].in(full)
				if down {
					b.servers[2].in(failing("get", "set", "delete"))
				}
				err := rs[0].Invalidate(bg, dogpile.Hard)
				if down && (!contains(err, "server2") || contains(err, "server1")) || !down && err != nil {
					t.Errorf("Invalidate = %v", err)
				}
				for server := range b.servers {
					if _, ok, _ := cs[1].Get(bg, b.keysOn(server, 1)[0]); ok {
						t.Errorf("the entry of server %d is fresh", server)
					}
				}
			})
		})
	}
}
