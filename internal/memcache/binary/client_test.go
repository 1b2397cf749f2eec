package binary_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/internal/memcache"
	"github.com/dogpile-go/dogpile/internal/memcache/binary"
)

type doer interface {
	Do(ctx context.Context, ops []memcache.Op) error
	Close() error
}

const set, get, del = memcache.Set, memcache.Get, memcache.Delete

var meanings = []struct {
	name string
	ops  []memcache.Op // CAS 1 stands for the one of the last answer, CAS 2 for another
	want []memcache.Status
}{
	{"get what is missing", []memcache.Op{{Kind: get}}, statuses(memcache.Missing)},
	{"get what is set", []memcache.Op{{Kind: set, Value: []byte("v"), Flags: 1<<32 - 1}, {Kind: get}}, statuses(memcache.Done, memcache.Done)},
	{"get without the value", []memcache.Op{{Kind: set, Value: []byte("v"), Flags: 3}, {Kind: get, NoValue: true}}, statuses(memcache.Done, memcache.Done)},
	{"empty value", []memcache.Op{{Kind: set}, {Kind: get}}, statuses(memcache.Done, memcache.Done)},
	{"binary value", []memcache.Op{{Kind: set, Value: []byte("\x00\r\nEND\r\n\x81")}, {Kind: get}}, statuses(memcache.Done, memcache.Done)},
	{"overwrite", []memcache.Op{{Kind: set, Value: []byte("v")}, {Kind: set, Value: []byte("w")}, {Kind: get}}, statuses(memcache.Done, memcache.Done, memcache.Done)},
	{"add to nothing", []memcache.Op{{Kind: set, Add: true}, {Kind: get}}, statuses(memcache.Done, memcache.Done)},
	{"add to something", []memcache.Op{{Kind: set, Value: []byte("v")}, {Kind: set, Add: true}, {Kind: get}}, statuses(memcache.Done, memcache.Refused, memcache.Done)},
	{"add with a CAS", []memcache.Op{{Kind: set}, {Kind: set, Add: true, CAS: 1}}, statuses(memcache.Done, memcache.Refused)},
	{"set with the CAS", []memcache.Op{{Kind: set}, {Kind: set, CAS: 1, Value: []byte("w")}, {Kind: get}}, statuses(memcache.Done, memcache.Done, memcache.Done)},
	{"set with another CAS", []memcache.Op{{Kind: set}, {Kind: set, CAS: 2, Value: []byte("w")}, {Kind: get}}, statuses(memcache.Done, memcache.Changed, memcache.Done)},
	{"set with a CAS of nothing", []memcache.Op{{Kind: set, CAS: 2}, {Kind: get}}, statuses(memcache.Missing, memcache.Missing)},
	{"delete", []memcache.Op{{Kind: set}, {Kind: del}, {Kind: get}}, statuses(memcache.Done, memcache.Done, memcache.Missing)},
	{"delete nothing", []memcache.Op{{Kind: del}}, statuses(memcache.Missing)},
	{"delete with the CAS", []memcache.Op{{Kind: set}, {Kind: del, CAS: 1}, {Kind: get}}, statuses(memcache.Done, memcache.Done, memcache.Missing)},
	{"delete with another CAS", []memcache.Op{{Kind: set}, {Kind: del, CAS: 2}, {Kind: get}}, statuses(memcache.Done, memcache.Changed, memcache.Done)},
	{"delete nothing with a CAS", []memcache.Op{{Kind: del, CAS: 2}}, statuses(memcache.Missing)},
	{"TTL of ten minutes", []memcache.Op{{Kind: set, TTL: 600}, {Kind: get}}, statuses(memcache.Done, memcache.Done)},
	{"TTL as a date of the past", []memcache.Op{{Kind: set, TTL: 30*24*3600 + 1}, {Kind: get}}, statuses(memcache.Done, memcache.Missing)},
	{"TTL as a date of the future", []memcache.Op{{Kind: set, TTL: uint32(time.Now().Unix()) + 600}, {Kind: get}}, statuses(memcache.Done, memcache.Done)},
	{"TTL beyond all", []memcache.Op{{Kind: set, TTL: 1<<32 - 1}, {Kind: get}}, statuses(memcache.Done, memcache.Done)},
}

// Whatever can be said in both protocols means the same in both.
func TestOpsMeanWhatTheyMeanInTheMetaProtocol(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for number, tc := range meanings {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var answers [2][]string
			for i, c := range []doer{newClient(t, s.Addr(), patient(memcache.Options{})), memcache.New(s.Addr(), patient(memcache.Options{}))} {
				defer c.Close()
				cas := uint64(0)
				for n, op := range tc.ops {
					op.Key = fmt.Sprint("key", number, "-", i)
					switch op.CAS {
					case 1:
						op.CAS = cas
					case 2:
						op.CAS = cas + 1000
					}
					asked := op.CAS
					op = do(t, c, op)[0]
					cas = op.CAS
					if op.Status != tc.want[n] || op.Err != nil {
						t.Errorf("%T: op %d: status %d, %v; want %d", c, n, op.Status, op.Err, tc.want[n])
					}
					answers[i] = append(answers[i], fmt.Sprintf("status %d value %q flags %d new CAS %t", op.Status, op.Value, op.Flags, op.CAS != asked))
				}
			}
			if got, want := strings.Join(answers[0], "\n"), strings.Join(answers[1], "\n"); got != want {
				t.Errorf("binary protocol:\n%s\nmeta protocol:\n%s", got, want)
			}
		})
	}
}

func statuses(s ...memcache.Status) []memcache.Status { return s }

func TestABatchIsOneRoundTripAndEachOpHasItsAnswer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := newClient(t, s.Addr(), patient(memcache.Options{}))
	var sets, gets []memcache.Op
	for i := range 300 {
		key := fmt.Sprint("key", i)
		if i%3 != 0 {
			sets = append(sets, memcache.Op{Kind: memcache.Set, Key: key, Value: []byte(key), Flags: uint32(i)})
		}
		gets = append(gets, memcache.Op{Key: key})
	}
	do(t, c, sets...)
	for i, op := range do(t, c, gets...) {
		switch {
		case i%3 == 0 && op.Status == memcache.Missing && op.Value == nil:
		case i%3 != 0 && op.Status == memcache.Done && string(op.Value) == op.Key && op.Flags == uint32(i) && op.CAS != 0:
		default:
			t.Errorf("%s: status %d, value %q, flags %d", op.Key, op.Status, op.Value, op.Flags)
		}
	}
	if err := c.Do(t.Context(), nil); err != nil {
		t.Errorf("Do of nothing: %v", err)
	}
}

// Neither side can take in all that the other sends before it has been read.
func TestLargeValuesBothWaysInOneBatch(t *testing.T) {
	t.Parallel()
	s := startServer(t, "-m", "256")
	c := newClient(t, s.Addr(), patient(memcache.Options{}))
	value := bytes.Repeat([]byte("0123456789abcdef"), 60<<10)
	var ops []memcache.Op
	for i := range 60 {
		ops = append(ops,
			memcache.Op{Kind: memcache.Set, Key: fmt.Sprint("key", i), Value: value},
			memcache.Op{Key: fmt.Sprint("key", i)})
	}
	for _, op := range do(t, c, ops...) {
		if op.Status != memcache.Done || !bytes.Equal(op.Value, value) {
			t.Fatalf("kind %d %s: status %d, %d bytes, %v", op.Kind, op.Key, op.Status, len(op.Value), op.Err)
		}
	}
}

func TestAValueThatIsTooLargeIsItsOpsErrorAlone(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, tc := range []struct {
		name string
		max  int // of the client
		size int
	}{
		{"for the server", 0, 1 << 20},
		{"for the client", 1000, 1001},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, s.Addr(), patient(memcache.Options{MaxValue: tc.max}))
			ops := do(t, c,
				memcache.Op{Kind: memcache.Set, Key: tc.name[:3] + "1", Value: []byte("a")},
				memcache.Op{Kind: memcache.Set, Key: tc.name[:3] + "2", Value: make([]byte, tc.size)},
				memcache.Op{Kind: memcache.Set, Key: tc.name[:3] + "3", Value: []byte("c")},
				memcache.Op{Key: tc.name[:3] + "3"})
			if !errors.Is(ops[1].Err, memcache.ErrTooLarge) || ops[1].Status != memcache.Unanswered {
				t.Errorf("the large value: status %d, %v", ops[1].Status, ops[1].Err)
			}
			if ops[0].Status != memcache.Done || ops[2].Status != memcache.Done || string(ops[3].Value) != "c" {
				t.Errorf("the others: %+v", ops)
			}
		})
	}
	t.Run("to be read", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, s.Addr(), patient(memcache.Options{MaxValue: 1000}))
		large := newClient(t, s.Addr(), patient(memcache.Options{}))
		do(t, large, memcache.Op{Kind: memcache.Set, Key: "large", Value: make([]byte, 1001)}, memcache.Op{Kind: memcache.Set, Key: "small", Value: []byte("v")})
		ops := do(t, c, memcache.Op{Key: "large"}, memcache.Op{Key: "small"})
		if !errors.Is(ops[0].Err, memcache.ErrTooLarge) || string(ops[1].Value) != "v" {
			t.Errorf("%+v", ops)
		}
	})
}

func TestAnIllegalKeyIsRefusedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	c := newClient(t, "127.0.0.1:1", &memcache.Options{Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("a connection was made")
		return nil, errors.New("no")
	}})
	for _, key := range []string{"", "a b", "a\nb", "a\r\nflush_all\r\n", "a\x00", "a\x7f", strings.Repeat("k", 251)} {
		ops := []memcache.Op{{Key: "legal"}, {Key: key}}
		if err := c.Do(t.Context(), ops); !errors.Is(err, memcache.ErrKey) {
			t.Errorf("Do(%q) = %v", key, err)
		}
	}
}

func TestWhatTheProtocolCannotDoIsTheOpsError(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := newClient(t, s.Addr(), patient(memcache.Options{}))
	ops := do(t, c,
		memcache.Op{Key: "a", Vivify: 30},
		memcache.Op{Key: "a"})
	if op := ops[0]; !errors.Is(op.Err, errors.ErrUnsupported) || op.Status != memcache.Unanswered {
		t.Errorf("a Get with Vivify: status %d, %v", op.Status, op.Err)
	}
	if ops[1].Status != memcache.Missing {
		t.Errorf("the other: %+v", ops[1])
	}
	ops = ops[:1]
	if err := c.Do(t.Context(), ops); err != nil || ops[0].Err == nil {
		t.Errorf("with nothing to send: %v, %v", err, ops[0].Err)
	}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	secured, open := startSASL(t), startServer(t)
	pool, args := certificate(t)
	both := startSASL(t, args...)
	for _, tc := range []struct {
		name   string
		server *server
		o      memcache.Options
		want   string // error
	}{
		{"right password", secured, memcache.Options{Credentials: known(user1, password)}, ""},
		{"right password over TLS", both, memcache.Options{Credentials: known(user1, password), TLS: trusting(pool)}, ""},
		{"wrong password", secured, memcache.Options{Credentials: known(user1, "hunter2")}, "authentication: the server refuses the username and password"},
		{"unknown user", secured, memcache.Options{Credentials: known("jim", password)}, "authentication: the server refuses the username and password"},
		{"empty password", secured, memcache.Options{Credentials: known(user1, "")}, "authentication: the server refuses the username and password"},
		{"password without a user", secured, memcache.Options{Credentials: known("", "hunter2")}, "authentication: the server refuses the username and password"},
		{"no user", secured, memcache.Options{}, "authentication: the server asks for a username and a password"},
		{"zero byte", secured, memcache.Options{Credentials: known(user1, "hunter2\x00")}, "authentication: username or password has a zero byte"},
		{"server without SASL", open, memcache.Options{Credentials: known(user1, password)}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, tc.server.Addr(), patient(tc.o))
			ops := []memcache.Op{{Kind: memcache.Set, Key: "k", Value: []byte("v")}, {Key: "k"}}
			err := c.Do(t.Context(), ops)
			if tc.want == "" {
				if err != nil || string(ops[1].Value) != "v" {
					t.Errorf("Do: %v, %q", err, ops[1].Value)
				}
				return
			}
			if want := "memcached " + tc.server.Addr() + ": " + tc.want; err == nil || err.Error() != want {
				t.Errorf("Do: %v; want %s", err, want)
			}
			for range 2 { // now it is remembered
				if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "hunter2") || strings.Contains(text, password) {
					t.Errorf("the password is in the error %s", text)
				}
				if err = c.Do(t.Context(), ops); err == nil {
					t.Error("a second call succeeded")
				}
			}
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	pool, args := certificate(t)
	s := startServer(t, args...)
	c := newClient(t, s.Addr(), patient(memcache.Options{TLS: trusting(pool)}))
	if ops := do(t, c, memcache.Op{Kind: memcache.Set, Key: "k", Value: []byte("v")}, memcache.Op{Key: "k"}); string(ops[1].Value) != "v" {
		t.Errorf("Get over TLS: %+v", ops[1])
	}
	other, _ := certificate(t)
	c = newClient(t, s.Addr(), patient(memcache.Options{TLS: trusting(other)}))
	if err := c.Do(t.Context(), []memcache.Op{{Key: "k"}}); err == nil || !strings.Contains(err.Error(), "TLS: ") {
		t.Errorf("with an authority that is not the server's: %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	c := newClient(t, "unix:"+backendtest.StartMemcachedSocket(t).Addr(), patient(memcache.Options{}))
	if ops := do(t, c, memcache.Op{Kind: memcache.Set, Key: "k", Value: []byte("v")}, memcache.Op{Key: "k"}); string(ops[1].Value) != "v" {
		t.Errorf("Get: %+v", ops[1])
	}
}

func TestConnsIsTheMostConnectionsAtATime(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var open, most, made atomic.Int32
	o := patient(memcache.Options{Conns: 3})
	o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		made.Add(1)
		now := open.Add(1)
		for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
		}
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &counted{Conn: nc, open: &open}, err
	}
	c := newClient(t, s.Addr(), o)
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for i := range 50 {
				key := fmt.Sprint(g, "-", i)
				ops := []memcache.Op{{Kind: memcache.Set, Key: key, Value: []byte(key)}, {Key: key}, {Key: key + "?"}}
				if err := c.Do(t.Context(), ops); err != nil || string(ops[1].Value) != key || ops[2].Status != memcache.Missing {
					t.Errorf("%s: %v, %q, %d", key, err, ops[1].Value, ops[2].Status)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 || made.Load() > 3 {
		t.Errorf("%d connections at a time, %d in all; want 3", most.Load(), made.Load())
	}
	if err := c.Close(); err != nil || open.Load() != 0 {
		t.Errorf("Close: %v, %d connections left", err, open.Load())
	}
}

type counted struct {
	net.Conn
	open *atomic.Int32
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

var _ doer = (*binary.Client)(nil)
