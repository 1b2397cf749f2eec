package memcache_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

func session(t *testing.T, c *memcache.Client) memcache.Session {
	t.Helper()
	s, err := c.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A session stays with its connection, however busy that is, and ends with it.
func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var served [3]int
		f := &fake{serve: func(n int, p *peer) {
			if !p.greet() {
				return
			}
			for {
				cmd, ok := p.next()
				if !ok || cmd.key == "end" {
					return
				}
				served[n]++
				if cmd.name == "ms" {
					time.Sleep(500 * time.Millisecond)
				}
				if !p.answer(cmd) {
					return
				}
			}
		}}
		c := f.client(t, memcache.Options{})
		s := session(t, c)
		if s != session(t, c) {
			t.Error("two sessions of the one connection differ")
		}
		done := make(chan error, 1)
		go func() {
			done <- s.Do(t.Context(), []memcache.Op{{Kind: set, Key: "large", Value: make([]byte, 100_000)}})
		}()
		synctest.Wait()
		session(t, c) // has the second connection made
		synctest.Wait()
		other := session(t, c)
		if s == other {
			t.Error("the session of another connection is the same")
		}
		ops := []memcache.Op{{Key: "a"}}
		if err := s.Do(t.Context(), ops); err != nil || <-done != nil {
			t.Errorf("Do = %v", err)
		}
		isFor(t, ops[0], "a")
		if served[0] != 2 || served[1] != 0 {
			t.Errorf("the connections had %v commands", served)
		}

		if err := s.Do(t.Context(), []memcache.Op{{Key: "end"}}); err == nil || errors.Is(err, memcache.ErrGone) {
			t.Errorf("Do = %v, of a command that was sent", err)
		}
		for range 2 {
			ops = []memcache.Op{{Key: "b"}}
			if err := s.Do(t.Context(), ops); !errors.Is(err, memcache.ErrGone) || ops[0].Status != unanswered {
				t.Errorf("Do = %v, %+v", err, ops[0])
			}
		}
		if err := other.Do(t.Context(), ops); err != nil {
			t.Errorf("the other session: %v", err)
		}
		if served[0] != 2 || served[1] != 1 {
			t.Errorf("the connections had %v commands", served)
		}
	})
}

// Session and its Do return what Client.Do returns.
func TestSessionErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		d := &down{}
		c := d.client(t, memcache.Options{})
		if _, err := c.Session(t.Context()); !errors.Is(err, errRefused) {
			t.Errorf("Session of a server that is down: %v", err)
		}
		if _, err := c.Session(cancelled); err != context.Canceled {
			t.Errorf("Session with a context that is done: %v", err)
		}
		d.up.Store(true)
		time.Sleep(time.Second)
		s := session(t, c)
		for name, row := range map[string]struct {
			ctx  context.Context
			ops  []memcache.Op
			want error
		}{
			"no ops":    {t.Context(), nil, nil},
			"key":       {t.Context(), []memcache.Op{{Key: "a\nb"}}, memcache.ErrKey},
			"cancelled": {cancelled, []memcache.Op{{Key: "a"}}, context.Canceled},
		} {
			if err := s.Do(row.ctx, row.ops); !errors.Is(err, row.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		c.Close()
		if err := s.Do(t.Context(), []memcache.Op{{Key: "a"}}); !errors.Is(err, memcache.ErrGone) {
			t.Errorf("closed: %v", err)
		}
		if _, err := c.Session(t.Context()); err != memcache.ErrClosed {
			t.Errorf("Session of a closed client: %v", err)
		}
	})
}

// A session does not reach the server that was started in place of its own.
func TestSessionOfAServerThatIsStartedAgain(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	c := newClient(t, server.Addr(), memcache.Options{})
	s := session(t, c)
	ops := []memcache.Op{{Key: "a", Vivify: 100}}
	if err := s.Do(t.Context(), ops); err != nil || !ops[0].Won {
		t.Fatal(err, ops[0])
	}
	cas := ops[0].CAS
	server.Kill()
	server.Start(t)
	eventually(t, "a stub with the same CAS", func() bool {
		ops := []memcache.Op{{Key: "a", Vivify: 100}}
		return c.Do(t.Context(), ops) == nil && ops[0].CAS == cas
	})
	ops = []memcache.Op{{Kind: set, Key: "a", Value: []byte("stale"), CAS: cas}}
	if err := s.Do(t.Context(), ops); err == nil || ops[0].Status != unanswered {
		t.Errorf("Do = %v, %+v", err, ops[0])
	}
	if op := do(t, c, memcache.Op{Key: "a"})[0]; string(op.Value) != "" {
		t.Errorf("the value is %q", op.Value)
	}
}
