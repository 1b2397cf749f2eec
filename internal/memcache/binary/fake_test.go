package binary_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
	client "github.com/dogpile-go/dogpile/internal/memcache/binary"
)

// request is what a fake server has been sent.
type request struct {
	opcode byte
	opaque uint32
	key    string
}

const (
	opGet  = 0x00
	opSet  = 0x01
	opNoop = 0x0a
)

// frame returns a reply.
func frame(opcode byte, status uint16, opaque uint32, extras, key, value string) []byte {
	b := []byte{0x81, opcode}
	b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
	b = append(b, byte(len(extras)), 0)
	b = binary.BigEndian.AppendUint16(b, status)
	b = binary.BigEndian.AppendUint32(b, uint32(len(extras)+len(key)+len(value)))
	b = binary.BigEndian.AppendUint32(b, opaque)
	b = binary.BigEndian.AppendUint64(b, 7)
	return append(b, extras+key+value...)
}

// found answers a request with "of " and its key.
func found(r request) []byte {
	if r.opcode == opGet {
		return frame(opGet, 0, r.opaque, "\x00\x00\x00\x00", "", "of "+r.key)
	}
	return frame(r.opcode, 0, r.opaque, "", "", "")
}

// fake returns a Dial to a server that says reply to each request on the n-th
// connection, from 1, and hangs up when that is nil.
func fake(reply func(n int, r request) []byte) func(context.Context, string, string) (net.Conn, error) {
	var conns atomic.Int32
	return func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		n := int(conns.Add(1))
		go func() {
			defer there.Close()
			for {
				header := make([]byte, 24)
				if _, err := io.ReadFull(there, header); err != nil {
					return
				}
				body := make([]byte, binary.BigEndian.Uint32(header[8:]))
				if _, err := io.ReadFull(there, body); err != nil {
					return
				}
				body = body[header[4]:]
				r := request{header[1], binary.BigEndian.Uint32(header[12:]), string(body[:binary.BigEndian.Uint16(header[2:])])}
				b := reply(n, r)
				if b == nil {
					return
				}
				if _, err := there.Write(b); err != nil {
					return
				}
			}
		}()
		return here, nil
	}
}

// A connection whose stream is in doubt is closed, and the next call has a new
// one.
func TestRepliesThatAreWrong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		reply func(r request) []byte
		want  string
	}{
		{"to another command", func(r request) []byte { return frame(1, 0, r.opaque, "\x00\x00\x00\x00", "", "x") }, "reply to another command"},
		{"with another opaque", func(r request) []byte { return frame(opGet, 0, r.opaque-1, "\x00\x00\x00\x00", "", "x") }, "reply to another command"},
		{"that is a request", func(r request) []byte { b := found(r); b[0] = 0x80; return b }, "reply that is not of the binary protocol"},
		{"in another framing", func(r request) []byte { b := found(r); b[0] = 0x18; return b }, "reply that is not of the binary protocol"},
		{"of the text protocol", func(request) []byte { return []byte("ERROR the command is not known\r\n") }, "reply that is not of the binary protocol"},
		{"shorter than its extras", func(r request) []byte { b := found(r); copy(b[8:], "\x00\x00\x00\x03"); return b }, "reply that is not of the binary protocol"},
		{"of four gigabytes", func(r request) []byte { b := found(r); copy(b[8:], "\xff\xff\xff\xff"); return b }, "reply that is not of the binary protocol"},
		{"without flags", func(r request) []byte { return frame(opGet, 0, r.opaque, "", "", "x") }, "reply that lacks the flags"},
		{"cut in the header", func(r request) []byte { return append(found(r)[:10:10], "!"...) }, "no answer within 1s"},
		{"cut in the value", func(r request) []byte { b := found(r); return b[:len(b)-1] }, "no answer within 1s"},
		{"none", func(request) []byte { return []byte{} }, "no answer within 1s"},
		{"end of the connection", func(request) []byte { return nil }, "the server closed the connection"},
		{"no longer authenticated", func(r request) []byte { return frame(opGet, 0x20, r.opaque, "", "", "Auth failure.") }, "authentication: the server refuses the username and password"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var dials, broken atomic.Int32
				c := client.New("fake:1", &memcache.Options{Conns: 1, Dial: fake(func(n int, r request) []byte {
					dials.Store(int32(n))
					if r.key != "bad" && broken.Load() != int32(n) {
						return found(r)
					}
					b := tc.reply(r)
					// It hangs up, or is silent, once all is sent: a write must not fail.
					if b == nil && r.key == "bad" || b != nil && r.key != "bad" {
						b = []byte{}
					}
					broken.Store(int32(n))
					return b
				})})
				defer c.Close()
				do(t, c, memcache.Op{Key: "good"})
				ops := []memcache.Op{{Key: "good"}, {Key: "bad"}, {Key: "good"}}
				err := c.Do(t.Context(), ops)
				if want := "memcached fake:1: " + tc.want; err == nil || err.Error() != want {
					t.Errorf("Do = %v; want %s", err, want)
				}
				if string(ops[0].Value) != "of good" || ops[1].Status != memcache.Unanswered || ops[2].Status != memcache.Unanswered {
					t.Errorf("ops are %+v", ops)
				}
				if ops = do(t, c, memcache.Op{Key: "good"}); string(ops[0].Value) != "of good" {
					t.Errorf("afterwards: %q", ops[0].Value)
				}
				if dials.Load() != 2 {
					t.Errorf("%d connections, want 2", dials.Load())
				}
			})
		})
	}
}

func TestAReplyThatNobodyAskedForClosesTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		c := client.New("fake:1", &memcache.Options{Conns: 1, Dial: fake(func(n int, r request) []byte {
			dials.Store(int32(n))
			if r.key == "twice" {
				next := r
				next.opaque, next.key = r.opaque+1, "another"
				return append(found(r), found(next)...)
			}
			return found(r)
		})})
		defer c.Close()
		if ops := do(t, c, memcache.Op{Key: "twice"}); string(ops[0].Value) != "of twice" {
			t.Errorf("Get: %q", ops[0].Value)
		}
		synctest.Wait()
		if ops := do(t, c, memcache.Op{Key: "mine"}); string(ops[0].Value) != "of mine" {
			t.Errorf("the next Get: %q", ops[0].Value)
		}
		if dials.Load() != 2 {
			t.Errorf("%d connections, want 2", dials.Load())
		}
	})
}

func TestAnErrorOfTheServerIsThatOfItsOp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := client.New("fake:1", &memcache.Options{Dial: fake(func(_ int, r request) []byte {
			if r.key == "bad" {
				return frame(r.opcode, 0x82, r.opaque, "", "", strings.Repeat("Out of memory", 10))
			}
			return found(r)
		})})
		defer c.Close()
		ops := do(t, c, memcache.Op{Key: "good"}, memcache.Op{Kind: memcache.Set, Key: "bad"}, memcache.Op{Key: "good"})
		want := `server error ENOMEM: "Out of memoryOut of memoryOut of memoryOut of memoryOut of memoryOut of memoryOu"`
		if ops[1].Err == nil || ops[1].Err.Error() != want || ops[1].Status != memcache.Unanswered {
			t.Errorf("the op: %v", ops[1].Err)
		}
		if ops[0].Status != memcache.Done || ops[2].Status != memcache.Done {
			t.Errorf("the others: %+v", ops)
		}
	})
}

// What a server says before it is ready.
func TestGreetings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		login bool
		reply func(r request) []byte
		want  string
	}{
		{"no answer", false, func(request) []byte { return []byte{} }, "no answer within 1s"},
		{"no answer to the password", true, func(request) []byte { return []byte{} }, "no answer within 1s"},
		{"another step of authentication", true, func(r request) []byte { return frame(r.opcode, 0x21, r.opaque, "", "", "who?") }, "authentication: the server refuses the username and password"},
		{"error", true, func(r request) []byte { return frame(r.opcode, 0x85, r.opaque, "", "", password) }, "authentication: server error EBUSY"},
		{"error without authentication", false, func(r request) []byte { return frame(r.opcode, 0x81, r.opaque, "", "", "") }, `server error UNKNOWN_COMMAND: ""`},
		{"text", false, func(request) []byte { return []byte("ERROR\r\nERROR\r\nERROR\r\nERROR\r\n") }, "reply that is not of the binary protocol"},
		{"more than a client takes", false, func(r request) []byte { return frame(r.opcode, 0, r.opaque, "", "", strings.Repeat("x", 5000)) }, "reply that is too large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := &memcache.Options{MaxValue: 4096, Dial: fake(func(_ int, r request) []byte { return tc.reply(r) })}
				if tc.login {
					o.Credentials = known(user1, password)
				}
				c := client.New("fake:1", o)
				defer c.Close()
				err := c.Do(t.Context(), []memcache.Op{{Key: "k"}})
				if want := "memcached fake:1: " + tc.want; err == nil || err.Error() != want {
					t.Errorf("Do = %v; want %s", err, want)
				}
			})
		})
	}
}

func TestAServerThatIsDownIsTriedNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		up := false
		works := fake(func(_ int, r request) []byte { return found(r) })
		c := client.New("fake:1", &memcache.Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			if !up {
				return nil, errors.New("refused")
			}
			return works(ctx, network, addr)
		}})
		defer c.Close()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for range 1000 {
					err := c.Do(t.Context(), []memcache.Op{{Key: "k"}})
					if err == nil || err.Error() != "memcached fake:1: refused" {
						t.Errorf("Do = %v", err)
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		// 20 s; pauses double from 50 ms to half a second, give or take a half.
		if n := dials.Load(); n < 40 || n > 84 {
			t.Errorf("%d attempts in 20 s", n)
		}
		up = true
		time.Sleep(500 * time.Millisecond)
		do(t, c, memcache.Op{Key: "k"})
	})
}

// While one caller finds out whether the server is back, the others are told at
// once that it is not.
func TestOneCallerFindsOutForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		c := client.New("fake:1", &memcache.Options{Conns: 8, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dials.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		defer c.Close()
		const down = "memcached fake:1: no answer within 1s"
		if err := c.Do(t.Context(), []memcache.Op{{Key: "k"}}); err == nil || err.Error() != down {
			t.Errorf("Do = %v", err)
		}
		time.Sleep(time.Minute)
		start := time.Now()
		var wg sync.WaitGroup
		var waited atomic.Int32
		for range 50 {
			wg.Go(func() {
				if err := c.Do(t.Context(), []memcache.Op{{Key: "k"}}); err == nil || err.Error() != down {
					t.Errorf("Do = %v", err)
				}
				if time.Since(start) > 0 {
					waited.Add(1)
				}
			})
		}
		wg.Wait()
		if waited.Load() != 1 || dials.Load() != 2 {
			t.Errorf("%d callers waited and %d attempts were made; want 1 and 2", waited.Load(), dials.Load())
		}
	})
}

// A server that hangs is down for those who come later; the next one finds out
// at once whether it still is.
func TestAServerThatDoesNotAnswerIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hangs := false
		c := client.New("fake:1", &memcache.Options{Conns: 8, Timeout: time.Minute, Dial: fake(func(_ int, r request) []byte {
			if hangs {
				return []byte{}
			}
			return found(r)
		})})
		defer c.Close()
		do(t, c, memcache.Op{Key: "k"})
		hangs = true
		err := c.Do(t.Context(), []memcache.Op{{Key: "k"}})
		if err == nil || err.Error() != "memcached fake:1: no answer within 1m0s" {
			t.Errorf("Do = %v", err)
		}
		synctest.Wait()
		start := time.Now()
		var wg sync.WaitGroup
		var waited atomic.Int32
		for range 5 {
			wg.Go(func() {
				if err := c.Do(t.Context(), []memcache.Op{{Key: "k"}}); err == nil {
					t.Error("Do succeeded")
				}
				if time.Since(start) > 0 {
					waited.Add(1)
				}
			})
		}
		wg.Wait()
		if waited.Load() != 1 {
			t.Errorf("%d later callers waited; want 1", waited.Load())
		}
	})
}

// A server that accepts connections only to close them is as good as down.
func TestAServerThatHangsUpIsTriedNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		c := client.New("fake:1", &memcache.Options{Dial: fake(func(n int, r request) []byte {
			dials.Store(int32(n))
			if r.opcode == opNoop {
				return found(r)
			}
			return nil
		})})
		defer c.Close()
		for range 1000 {
			if err := c.Do(t.Context(), []memcache.Op{{Key: "k"}}); err == nil {
				t.Error("Do succeeded")
			}
			time.Sleep(20 * time.Millisecond)
		}
		if n := dials.Load(); n < 40 || n > 84 {
			t.Errorf("%d connections in 20 s", n)
		}
	})
}

// Somebody who leaves says nothing about the server.
func TestAServerIsNotDownBecauseACallerHasLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := client.New("fake:1", &memcache.Options{Dial: fake(func(_ int, r request) []byte {
			if r.opcode != opNoop {
				time.Sleep(500 * time.Millisecond)
			}
			return found(r)
		})})
		defer c.Close()
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if err := c.Do(ctx, []memcache.Op{{Key: "k"}}); err != context.DeadlineExceeded {
				t.Errorf("Do = %v", err)
			}
			cancel()
			synctest.Wait()
		}
		do(t, c, memcache.Op{Key: "k"})
	})
}

// 1. The client writes the second of three commands, which is large.
// 2. The server has read the first, and answers all three.
// 3. The client has not made up the third yet.
func TestAReplyToWhatIsYetToBeAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := client.New("fake:1", &memcache.Options{Dial: fake(func(_ int, r request) []byte {
			if r.opcode == opNoop {
				return found(r)
			}
			b := found(r)
			b = append(b, frame(opSet, 0, r.opaque+1, "", "", "")...)
			return append(b, found(request{opGet, r.opaque + 2, "c"})...)
		})})
		defer c.Close()
		large := make([]byte, 100<<10)
		ops := []memcache.Op{{Kind: memcache.Set, Key: "a", Value: large}, {Kind: memcache.Set, Key: "b", Value: large}, {Key: "c"}}
		if err := c.Do(t.Context(), ops); err == nil || !strings.HasSuffix(err.Error(), " that nobody asked for") {
			t.Errorf("Do = %v, %+v", err, ops[2].Status)
		}
	})
}

// A caller whose time is up before the connection is there leaves it to the
// next.
func TestConnectingGoesOnWithoutItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		works := fake(func(_ int, r request) []byte { return found(r) })
		c := client.New("fake:1", &memcache.Options{Conns: 1, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			time.Sleep(300 * time.Millisecond)
			return works(ctx, network, addr)
		}})
		defer c.Close()
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 99*time.Millisecond)
			if err := c.Do(ctx, []memcache.Op{{Key: "k"}}); err != context.DeadlineExceeded {
				t.Errorf("Do = %v", err)
			}
			cancel()
		}
		do(t, c, memcache.Op{Key: "k"})
		if dials.Load() != 1 {
			t.Errorf("%d connections were made, want 1", dials.Load())
		}
	})
}

func TestCallsWaitForAFreeConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := client.New("fake:1", &memcache.Options{Conns: 2, Timeout: -1, Dial: fake(func(_ int, r request) []byte {
			if r.opcode != opNoop {
				time.Sleep(time.Minute)
			}
			return found(r)
		})})
		defer c.Close()
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() { do(t, c, memcache.Op{Key: fmt.Sprint(i)}) })
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		synctest.Wait()
		if err := c.Do(ctx, []memcache.Op{{Key: "k"}}); err != context.DeadlineExceeded {
			t.Errorf("Do = %v", err)
		}
		wg.Wait()
		if took := time.Since(start); took != 3*time.Minute {
			t.Errorf("6 calls of a minute over 2 connections took %v", took)
		}
	})
}

// Whatever a server sends, a call ends, its ops have an answer or it has an
// error, and no value is other than what was sent.
func FuzzReplies(f *testing.F) {
	ok := frame(opGet, 0, 0, "\x00\x00\x00\x00", "", "value")
	f.Add([]byte{}, uint8(0))
	f.Add(ok, uint8(1))
	f.Add(append(ok, ok...), uint8(2))
	f.Add(frame(opGet, 1, 0, "", "", "Not found"), uint8(2))
	f.Add([]byte("VALUE k 0 1\r\nv\r\nEND\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, patch uint8) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var sent []byte
			c := client.New("fake:1", &memcache.Options{MaxValue: 1 << 16, Dial: fake(func(_ int, r request) []byte {
				if r.opcode == opNoop {
					return found(r)
				}
				// Without the right opaque nothing gets far.
				b := append([]byte{}, data...)
				for i := 0; i < int(patch%4) && len(b) >= (i+1)*24; i++ {
					binary.BigEndian.PutUint32(b[i*24+12:], r.opaque+uint32(i))
				}
				mu.Lock()
				defer mu.Unlock()
				sent = append(sent, b...)
				return b
			})})
			defer c.Close()
			ops := []memcache.Op{{Key: "a"}, {Kind: memcache.Set, Key: "b", CAS: 1}, {Kind: memcache.Delete, Key: "c"}}
			err := c.Do(t.Context(), ops)
			mu.Lock()
			defer mu.Unlock()
			for _, op := range ops {
				if err == nil && op.Status == memcache.Unanswered && op.Err == nil {
					t.Errorf("no error and no answer: %+v", op)
				}
				if op.Kind == memcache.Get && !bytes.Contains(sent, op.Value) {
					t.Errorf("value %q is none that was sent", op.Value)
				}
			}
		})
	})
}
