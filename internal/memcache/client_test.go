package memcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

const (
	get    = memcache.Get
	set    = memcache.Set
	remove = memcache.Delete
)

// told is what an op was told.
type told struct {
	Status            memcache.Status
	Value             string
	Flags             uint32
	Won, Stale        bool
	sameCAS, otherCAS int // this op's CAS is that of the earlier step, or is not; 0: not looked at
}

type step struct {
	op   memcache.Op
	raw  string // a command that is sent by another connection, in place of op
	cas  int    // take the CAS of that step, counted from 1
	want told
}

var value = []byte("value")

// answers is what a server tells, step by step, of one key.
var answers = []struct {
	name  string
	steps []step
}{
	{"nothing there", []step{
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Missing}},
		{op: memcache.Op{Kind: remove}, want: told{Status: memcache.Missing}},
		{op: memcache.Op{Kind: set, Value: value, CAS: 1}, want: told{Status: memcache.Missing}},
		{op: memcache.Op{Kind: remove, CAS: 1}, want: told{Status: memcache.Missing}},
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Missing}},
	}},
	{"set and get", []step{
		{op: memcache.Op{Kind: set, Value: value, Flags: math.MaxUint32, TTL: 100}, want: told{Status: memcache.Done}},
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Done, Value: "value", Flags: math.MaxUint32, sameCAS: 1}},
		{op: memcache.Op{Kind: get, NoValue: true}, want: told{Status: memcache.Done, Flags: math.MaxUint32, sameCAS: 1}},
		{op: memcache.Op{Kind: set, Value: []byte{}}, want: told{Status: memcache.Done, otherCAS: 1}},
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Done, sameCAS: 4}},
	}},
	{"modes", []step{
		{op: memcache.Op{Kind: set, Value: []byte("a"), Add: true}, want: told{Status: memcache.Done}},
		{op: memcache.Op{Kind: set, Value: []byte("b"), Add: true}, want: told{Status: memcache.Refused}},
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Done, Value: "a"}},
	}},
	{"compare and swap", []step{
		{op: memcache.Op{Kind: set, Value: []byte("a")}, want: told{Status: memcache.Done}},
		{op: memcache.Op{Kind: set, Value: []byte("b")}, cas: 1, want: told{Status: memcache.Done, otherCAS: 1}},
		{op: memcache.Op{Kind: set, Value: []byte("c")}, cas: 1, want: told{Status: memcache.Changed}},
		{op: memcache.Op{Kind: remove}, cas: 1, want: told{Status: memcache.Changed}},
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Done, Value: "b", sameCAS: 2}},
		{op: memcache.Op{Kind: remove}, cas: 2, want: told{Status: memcache.Done}},
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Missing}},
	}},
	{"stub", []step{
		{op: memcache.Op{Kind: get, Vivify: 100}, want: told{Status: memcache.Done, Won: true}},
		{op: memcache.Op{Kind: get, Vivify: 100}, want: told{Status: memcache.Done, sameCAS: 1}},
		{op: memcache.Op{Kind: get, NoValue: true}, want: told{Status: memcache.Done, sameCAS: 1}},
		{op: memcache.Op{Kind: set, Value: value}, cas: 1, want: told{Status: memcache.Done}},
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Done, Value: "value", sameCAS: 4}},
	}},
	{"stub that was deleted", []step{
		{op: memcache.Op{Kind: get, Vivify: 100}, want: told{Status: memcache.Done, Won: true}},
		{op: memcache.Op{Kind: remove}, want: told{Status: memcache.Done}},
		{op: memcache.Op{Kind: set, Value: value}, cas: 1, want: told{Status: memcache.Missing}},
	}},
	{"invalidated", []step{
		{op: memcache.Op{Kind: set, Value: value, Flags: 7}, want: told{Status: memcache.Done}},
		{raw: "md %s I"}, // as another program does
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Done, Value: "value", Flags: 7, Stale: true, Won: true, otherCAS: 1}},
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Done, Value: "value", Flags: 7, Stale: true, sameCAS: 3}},
		{op: memcache.Op{Kind: set, Value: []byte("new")}, cas: 3, want: told{Status: memcache.Done}},
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Done, Value: "new"}},
	}},
	{"times at the edges", []step{
		{op: memcache.Op{Kind: set, Value: value, TTL: 30 * 24 * 3600}, want: told{Status: memcache.Done}},
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Done, Value: "value"}},
		{op: memcache.Op{Kind: set, Value: value, TTL: 30*24*3600 + 1}, want: told{Status: memcache.Done}},
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Missing}}, // a second of 1970
		{op: memcache.Op{Kind: set, Value: value, TTL: math.MaxInt32}, want: told{Status: memcache.Done}},
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Done, Value: "value"}},
		{op: memcache.Op{Kind: set, Value: value, TTL: math.MaxUint32}, want: told{Status: memcache.Done}},
		{op: memcache.Op{Kind: get}, want: told{Status: memcache.Done, Value: "value"}},
	}},
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, row := range answers {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, sharedServer(t).Addr(), memcache.Options{})
			key := strings.ReplaceAll(t.Name(), " ", "_")
			var done []memcache.Op
			for i, s := range row.steps {
				if s.raw != "" {
					sendRaw(t, sharedServer(t).Addr(), fmt.Sprintf(s.raw, key))
					done = append(done, memcache.Op{})
					continue
				}
				s.op.Key = key
				if s.cas > 0 {
					s.op.CAS = done[s.cas-1].CAS
				}
				op := do(t, c, s.op)[0]
				done = append(done, op)
				if err := s.want.check(op, done); err != nil {
					t.Errorf("step %d: %v", i+1, err)
				}
			}
		})
	}
}

// sendRaw has a server carry out a command whose answer is HD.
func sendRaw(t testing.TB, addr, command string) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patient))
	_, err = fmt.Fprintf(nc, "%s\r\n", command)
	answer := make([]byte, len("HD\r\n"))
	if _, e := io.ReadFull(nc, answer); err != nil || e != nil || string(answer) != "HD\r\n" {
		t.Fatalf("%s: %q, %v, %v", command, answer, err, e)
	}
}

// check compares what op, the last one that is done, was told with w.
func (w told) check(op memcache.Op, done []memcache.Op) error {
	if op.Err != nil {
		return op.Err
	}
	if w.sameCAS > 0 && op.CAS != done[w.sameCAS-1].CAS || w.otherCAS > 0 && op.CAS == done[w.otherCAS-1].CAS {
		return fmt.Errorf("the CAS is %d; all are %+v", op.CAS, done)
	}
	w.sameCAS, w.otherCAS = 0, 0
	got := told{Status: op.Status, Won: op.Won, Stale: op.Stale}
	if op.Kind == get {
		got.Value, got.Flags = string(op.Value), op.Flags
	}
	if got != w {
		return fmt.Errorf("%+v, want %+v", got, w)
	}
	if op.Kind == get && op.Status == memcache.Done && (op.Value == nil) != op.NoValue {
		return fmt.Errorf("Value is %#v", op.Value)
	}
	return nil
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	c := newClient(t, sharedServer(t).Addr(), memcache.Options{})
	do(t, c, memcache.Op{Kind: set, Key: "short", Value: []byte("v"), TTL: 1}, memcache.Op{Key: "stub", Vivify: 1})
	eventually(t, "items to expire", func() bool {
		ops := do(t, c, memcache.Op{Key: "short"}, memcache.Op{Key: "stub"})
		return ops[0].Status == memcache.Missing && ops[1].Status == memcache.Missing
	})
}

func TestBatch(t *testing.T) {
	t.Parallel()
	c := newClient(t, sharedServer(t).Addr(), memcache.Options{})
	var ops []memcache.Op
	for i := range 1000 {
		ops = append(ops, memcache.Op{Kind: set, Key: fmt.Sprint("batch", i), Value: bytes.Repeat([]byte{byte(i)}, i*i/20)})
	}
	for i, op := range do(t, c, ops...) {
		if op.Status != memcache.Done {
			t.Fatalf("op %d: %+v", i, op)
		}
	}
	for i := range ops {
		ops[i] = memcache.Op{Key: ops[i].Key}
		if i%3 == 0 {
			ops[i].Key += "missing"
		}
	}
	for i, op := range do(t, c, ops...) {
		want := memcache.Done
		if i%3 == 0 {
			want = memcache.Missing
		}
		if op.Status != want || want == memcache.Done && !bytes.Equal(op.Value, bytes.Repeat([]byte{byte(i)}, i*i/20)) {
			t.Fatalf("op %d: %v, %d bytes", i, op.Status, len(op.Value))
		}
	}
	if got := do(t, c); len(got) != 0 {
		t.Errorf("no ops: %v", got)
	}
}

func TestAnswerReplacesWhatWasInTheOp(t *testing.T) {
	t.Parallel()
	c := newClient(t, sharedServer(t).Addr(), memcache.Options{})
	op := do(t, c, memcache.Op{Key: "never-set", Value: []byte("x"), Flags: 1, CAS: 2, Status: memcache.Done, Won: true, Stale: true, Err: errors.New("x")})[0]
	if op.Value != nil || op.Flags != 0 || op.CAS != 0 || op.Status != memcache.Missing || op.Won || op.Stale || op.Err != nil {
		t.Errorf("%+v", op)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	c := newClient(t, sharedServer(t).Addr(), memcache.Options{})
	do(t, c, memcache.Op{Kind: set, Key: "victim", Value: []byte("v")})
	for _, row := range []struct {
		name, key string
		legal     bool
	}{
		{"one byte", "a", true},
		{"250 bytes", strings.Repeat("k", 250), true},
		{"UTF-8", "schlüssel", true},
		{"every byte above", string(bytesFrom(0x80, 0xff)), true},
		{"punctuation", "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~", true},
		{"empty", "", false},
		{"251 bytes", strings.Repeat("k", 251), false},
		{"space", "a b", false},
		{"flag", "a v", false},
		{"newline", "a\r\nmd victim\r\n", false},
		{"line feed", "a\nmd victim", false},
		{"carriage return", "a\rb", false},
		{"tab", "a\tb", false},
		{"NUL", "a\x00b", false},
		{"DEL", "a\x7fb", false},
	} {
		for _, kind := range []memcache.Kind{get, set, remove} {
			ops := []memcache.Op{{Kind: set, Key: "other", Value: []byte(row.name)}, {Kind: kind, Key: row.key, Value: []byte("v")}}
			err := c.Do(t.Context(), ops)
			if row.legal && (err != nil || ops[1].Status == memcache.Unanswered) {
				t.Errorf("%s: %v, %+v", row.name, err, ops[1])
			}
			if row.legal {
				continue
			}
			if !errors.Is(err, memcache.ErrKey) || ops[0].Status != memcache.Unanswered {
				t.Errorf("%s: %v, %+v", row.name, err, ops[0])
			}
			if op := do(t, c, memcache.Op{Key: "other"})[0]; string(op.Value) == row.name {
				t.Errorf("%s: the op beside it was sent", row.name)
			}
		}
	}
	if op := do(t, c, memcache.Op{Key: "victim"})[0]; op.Status != memcache.Done {
		t.Errorf("a key has become a command: %+v", op)
	}
}

func bytesFrom(first, last byte) (b []byte) {
	for c := int(first); c <= int(last); c++ {
		b = append(b, byte(c))
	}
	return b
}

func TestValueTooLarge(t *testing.T) {
	t.Parallel()
	s := startServer(t, "-m", "64", "-I", "2m")
	for _, row := range []struct {
		name string
		max  int
		size int
		want error
	}{
		{"just fits", 0, 2<<20 - 100, nil},
		{"for the server", 0, 2 << 20, memcache.ErrTooLarge},
		{"for the client", 1000, 1001, memcache.ErrTooLarge},
		{"just fits the client", 1000, 1000, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newClient(t, s.Addr(), memcache.Options{MaxValue: row.max})
			ops := do(t, c,
				memcache.Op{Kind: set, Key: "before", Value: []byte("b")},
				memcache.Op{Kind: set, Key: "large", Value: bytes.Repeat([]byte("\r\nmd before\r\n"), row.size/13+1)[:row.size]},
				memcache.Op{Key: "before"},
				memcache.Op{Kind: set, Key: "after", Value: []byte("a")},
			)
			if op := ops[1]; op.Err != row.want || (op.Status == memcache.Done) != (row.want == nil) {
				t.Errorf("Err = %v, Status = %v", op.Err, op.Status)
			}
			if string(ops[2].Value) != "b" || ops[0].Status != memcache.Done || ops[3].Status != memcache.Done {
				t.Errorf("the others: %+v", ops)
			}
			if op := do(t, c, memcache.Op{Key: "large"})[0]; row.want == nil && len(op.Value) != row.size {
				t.Errorf("read again: %v, %d bytes", op.Status, len(op.Value))
			}
		})
	}
}

func TestValueReadThatIsTooLarge(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	for _, size := range []int{1001, 100_000} {
		key := fmt.Sprint("too-large-to-read", size)
		do(t, newClient(t, s.Addr(), memcache.Options{}), memcache.Op{Kind: set, Key: key, Value: make([]byte, size)})
		ops := do(t, newClient(t, s.Addr(), memcache.Options{MaxValue: 1000}), memcache.Op{Key: key}, memcache.Op{Key: "nothing"}, memcache.Op{Key: key, NoValue: true})
		if ops[0].Err != memcache.ErrTooLarge || ops[0].Value != nil || ops[1].Status != memcache.Missing || ops[2].Status != memcache.Done {
			t.Errorf("%+v", ops)
		}
	}
}

// The server has no memory and may not evict: it says so for each item and
// goes on.
func TestServerOutOfMemory(t *testing.T) {
	t.Parallel()
	c := newClient(t, startServer(t, "-m", "1", "-I", "512k", "-M").Addr(), memcache.Options{})
	var ops []memcache.Op
	for i := range 100 {
		ops = append(ops, memcache.Op{Kind: set, Key: fmt.Sprint("k", i), Value: make([]byte, 100_000)}, memcache.Op{Key: fmt.Sprint("k", i), NoValue: true})
	}
	do(t, c, ops...)
	stored, refused := 0, 0
	for i := 0; i < len(ops); i += 2 {
		switch set, get := ops[i], ops[i+1]; {
		case set.Status == memcache.Done && get.Status == memcache.Done && set.CAS == get.CAS:
			stored++
		case set.Err != nil && set.Err != memcache.ErrTooLarge && strings.Contains(set.Err.Error(), "out of memory") && set.Status == memcache.Unanswered && get.Status == memcache.Missing:
			refused++
		default:
			t.Fatalf("set: %v, %v; get: %v, %v", set.Status, set.Err, get.Status, get.Err)
		}
	}
	if stored == 0 || refused == 0 {
		t.Errorf("%d stored, %d refused", stored, refused)
	}
}

// The server notices only while it reads the value that there is no memory for
// all of it.
func TestServerOutOfMemoryWithinAValue(t *testing.T) {
	t.Parallel()
	c := newClient(t, startServer(t, "-m", "16", "-I", "8m", "-M").Addr(), memcache.Options{})
	for i := range 20 {
		ops := do(t, c, memcache.Op{Kind: set, Key: fmt.Sprint("k", i), Value: make([]byte, 3<<20)}, memcache.Op{Key: "none"})
		if ops[1].Status != memcache.Missing || (ops[0].Err == nil) != (ops[0].Status == memcache.Done) {
			t.Fatalf("%v, %v; %v", ops[0].Status, ops[0].Err, ops[1].Status)
		}
		if err := ops[0].Err; err != nil {
			if !strings.Contains(err.Error(), "Out of memory") {
				t.Errorf("Err = %v", err)
			}
			return
		}
	}
	t.Error("the server took everything")
}

func TestEvictingServer(t *testing.T) {
	t.Parallel()
	c := newClient(t, startServer(t, "-m", "1", "-I", "512k").Addr(), memcache.Options{})
	missing := 0
	for i := range 300 {
		key, old := fmt.Sprint("k", i), fmt.Sprint("k", i/2)
		ops := do(t, c, memcache.Op{Kind: set, Key: key, Value: []byte(key + strings.Repeat("x", 50_000))}, memcache.Op{Key: old})
		if err := ops[0].Err; err != nil && !strings.Contains(err.Error(), "out of memory") {
			t.Fatal(err) // even this server may find nothing to evict
		}
		if ops[1].Status == memcache.Missing {
			missing++
		} else if !strings.HasPrefix(string(ops[1].Value), old+"x") {
			t.Fatalf("the value of %s begins with %.10q", old, ops[1].Value)
		}
	}
	if missing == 0 {
		t.Error("nothing was evicted")
	}
}

func TestCancelledBefore(t *testing.T) {
	t.Parallel()
	c := newClient(t, sharedServer(t).Addr(), memcache.Options{})
	do(t, c, memcache.Op{Key: "cancelled-before"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ops := []memcache.Op{{Kind: set, Key: "cancelled-before", Value: []byte("v")}}
	if err := c.Do(ctx, ops); err != context.Canceled {
		t.Errorf("Do = %v", err)
	}
	if op := do(t, c, memcache.Op{Key: "cancelled-before"})[0]; op.Status != memcache.Missing {
		t.Errorf("it was sent: %+v", op)
	}
}
