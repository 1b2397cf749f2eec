package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// record is what a logbook has of a log record.
type record struct {
	at      time.Duration // since the logbook was made
	level   slog.Level
	message string
	attrs   map[string]any
}

func (r record) leftOut() int64 { n, _ := r.attrs["left_out"].(int64); return n }

// logbook is a slog.Handler that keeps all records.
type logbook struct {
	slog.Handler
	began   time.Time
	mu      sync.Mutex
	records []record
}

func newLogbook() *logbook { return &logbook{Handler: slog.DiscardHandler, began: time.Now()} }

func (*logbook) Enabled(context.Context, slog.Level) bool { return true }

func (l *logbook) Handle(_ context.Context, sr slog.Record) error {
	r := record{time.Since(l.began), sr.Level, sr.Message, make(map[string]any)}
	sr.Attrs(func(a slog.Attr) bool {
		r.attrs[a.Key] = a.Value.Any()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r)
	return nil
}

// all returns the records so far, and how many errors they stand for.
func (l *logbook) all() (records []record, sum int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		sum += 1 + r.leftOut()
	}
	return slices.Clone(l.records), sum
}

func (l *logbook) options(o dogpile.Options) *dogpile.Options {
	o.Logger = slog.New(l)
	return &o
}

// 1000 calls in an outage of 10 s: a record at once, one in each second, and all
// errors are in them, without anything that happens afterwards.
func TestAnOutageIsLoggedOnceASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, b := newLogbook(), newFake(t, like{bytes: true})
		r := newRegion(t, b, log.options(dogpile.Options{}))
		c := dogpile.NewCache[int](r, nil)
		b.in(failing("get"))
		for i := range 1000 {
			v, err := c.GetOrCreate(bg, fmt.Sprint(i), constant(1).create)
			wantValue(t, "GetOrCreate", v, err, 1)
			pass(10 * time.Millisecond)
		}
		b.in(nil)
		later(time.Minute)
		records, sum := log.all()
		if sum != 1000 || r.Stats().Errors != 1000 {
			t.Errorf("the records stand for %d errors and %d were counted, want 1000", sum, r.Stats().Errors)
		}
		if len(records) != 11 {
			t.Errorf("%d records", len(records))
		}
		for i, r := range records {
			if r.at != time.Duration(i)*time.Second || r.level != slog.LevelWarn || r.message != "dogpile: get failed" {
				t.Errorf("record %d = %+v", i, r)
			}
			if err, _ := r.attrs["error"].(error); !errors.Is(err, errBackend) || r.attrs["region"] != "test" || r.attrs["key"] == nil {
				t.Errorf("record %d has %v", i, r.attrs)
			}
		}
	})
}

// What came within the last second is written when the region is closed, and
// nothing later than that.
func TestCloseLogsWhatWasLeftOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, b := newLogbook(), newFake(t, like{})
		r := newRegion(t, b, log.options(dogpile.Options{}))
		c := dogpile.NewCache[int](r, nil)
		b.in(failing("get"))
		for range 100 {
			_, _ = c.GetOrCreate(bg, "k", constant(1).create)
		}
		wantErr(t, "Close", r.Close(bg), nil)
		records, sum := log.all()
		if sum != 100 || len(records) != 2 || records[1].leftOut() != 98 || records[1].at != 0 {
			t.Errorf("%+v", records)
		}
		later(time.Minute)
		if again, _ := log.all(); len(again) != 2 {
			t.Errorf("%d records after Close", len(again)-2)
		}
	})
}

// Trouble of one kind does not hide another.
func TestEachKindOfTroubleIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, b := newLogbook(), newFake(t, like{bytes: true, maxValue: 1000})
		c := dogpile.NewCache[string](newRegion(t, b, log.options(dogpile.Options{})), nil)
		for range 10 {
			value := "v"
			create := func(context.Context) (string, error) { return value, nil }
			b.in(failing("set"))
			_, _ = c.GetOrCreate(bg, "k", create)
			b.in(failing("lock"))
			_, _ = c.GetOrCreate(bg, "k", create)
			b.in(nil)
			value = strings.Repeat("v", 2000)
			_, _ = c.GetOrCreate(bg, "k", create)
		}
		var got []string
		records, _ := log.all()
		for _, r := range records {
			got = append(got, fmt.Sprint(r.message, ": ", r.attrs["error"]))
		}
		want := []string{
			"dogpile: version failed: connection refused", // its token is the first thing stored
			"dogpile: store failed: value has 2065 bytes, the backend takes 1000",
			"dogpile: store failed: connection refused",
			"dogpile: lock failed: connection refused",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("logged\n%s", strings.Join(got, "\n"))
		}
	})
}

// An open breaker is the same trouble as what it is open for.
func TestOpenBreakerIsLoggedWithItsCause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, b := newLogbook(), newFake(t, like{})
		cause := &net.OpError{Op: "dial", Net: "tcp", Err: errBackend}
		r := newRegion(t, b, log.options(dogpile.Options{Proxies: []func(driver.Backend) driver.Backend{proxy.Breaker(nil)}}))
		c := dogpile.NewCache[int](r, nil)
		b.in(func(context.Context, string, []string) error { return cause })
		for range 4000 {
			_, _ = c.GetOrCreate(bg, "k", constant(1).create)
			pass(time.Millisecond)
		}
		later(time.Second)
		records, sum := log.all()
		if len(records) != 5 || sum != 4000 {
			t.Errorf("%d records for %d errors", len(records), sum)
		}
		text := fmt.Sprint(records[3].attrs["error"])
		if want := "the circuit breaker is open for 3s because: dial tcp: connection refused"; !strings.HasSuffix(text, want) {
			t.Errorf("after 3 s it says %q, want %q", text, want)
		}
		if n := b.called("get"); n > 20 {
			t.Errorf("%d calls reached the backend", n)
		}
	})
}

// steps are what may fail in a region without its callers' knowledge.
var steps = []struct {
	name    string
	o       dogpile.Options
	before  func(*dogpile.Cache[int]) error
	trouble trouble
	call    func(*dogpile.Cache[int])
	want    string // Op
}{
	{"reading", dogpile.Options{}, setKey, failing("get"), getKey, "get"},
	{"reading in a refresh", dogpile.Options{}, setKey, failing("get"), refreshKey(constant(2)), "get"},
	{"locking", dogpile.Options{}, setOther, failing("lock"), getKey, "lock"},
	{"storing", dogpile.Options{}, setKey, failing("set"), refreshKey(constant(2)), "store"},
	{"renewing", dogpile.Options{}, setKey, failing("extend"), refreshKey(counting(15 * time.Second)), "extend"},
	{"giving back", dogpile.Options{}, setKey, failing("release"), refreshKey(&creator[int]{err: errOrigin}), "unlock"},
	{"a creator in the background", dogpile.Options{Expiration: time.Second, Runner: dogpile.Background}, setKey, nil, func(c *dogpile.Cache[int]) {
		pass(1500 * time.Millisecond)
		_, _ = c.GetOrCreate(bg, "k", (&creator[int]{err: errOrigin}).create)
	}, "create"},
	{"the token", dogpile.Options{}, func(*dogpile.Cache[int]) error { return nil }, failing("set"), getKey, "version"},
}

func setKey(c *dogpile.Cache[int]) error   { return c.Set(bg, "k", 1) }
func setOther(c *dogpile.Cache[int]) error { return c.Set(bg, "other", 1) }
func getKey(c *dogpile.Cache[int])         { _, _ = c.GetOrCreate(bg, "k", constant(2).create) }

func refreshKey(o *creator[int]) func(*dogpile.Cache[int]) {
	return func(c *dogpile.Cache[int]) { _, _ = c.Refresh(bg, "k", o.create) }
}

// Each record and each event of an error says which step has failed.
func TestStepsThatFail(t *testing.T) {
	for _, row := range steps {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				log, b := newLogbook(), newFake(t, like{bytes: true})
				var events []string
				var mu sync.Mutex
				o := row.o
				o.Hooks = &dogpile.Hooks{Error: func(_ context.Context, e dogpile.Event) {
					mu.Lock()
					defer mu.Unlock()
					events = append(events, e.Op)
					if e.Key != "k" || e.Err == nil || e.Name != "named" {
						t.Errorf("the hook was told %+v", e)
					}
				}}
				c := dogpile.NewCache(newRegion(t, b, log.options(o)), &dogpile.CacheOptions[int]{Name: "named"})
				wantErr(t, "Set", row.before(c), nil)
				b.in(row.trouble)
				row.call(c)
				later(0)
				b.in(nil)
				mu.Lock()
				defer mu.Unlock()
				records, _ := log.all()
				if len(events) == 0 || len(records) == 0 {
					t.Fatalf("%d events, %d records", len(events), len(records))
				}
				for _, op := range events {
					if op != row.want {
						t.Errorf("told %v, want %s", events, row.want)
					}
				}
				for _, r := range records {
					if r.message != "dogpile: "+row.want+" failed" || r.attrs["name"] != "named" || r.attrs["key"] != "k" {
						t.Errorf("logged %+v", r)
					}
				}
			})
		})
	}
}

func TestDamagedEntriesAreLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newLogbook()
		r := newRegion(t, newFake(t, like{bytes: true}), log.options(dogpile.Options{}))
		wantErr(t, "Set", dogpile.NewCache[string](r, nil).Set(bg, "k", "text"), nil)
		_, ok, err := dogpile.NewCache[int](r, nil).Get(bg, "k")
		if ok || err != nil {
			t.Errorf("Get = %v, %v", ok, err)
		}
		if records, _ := log.all(); len(records) != 1 || records[0].message != "dogpile: decode failed" {
			t.Errorf("logged %+v", records)
		}
	})
}

// What could not be stored says store, whatever the caller has called.
func TestStoreHookSaysStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		var e dogpile.Event
		r := newRegion(t, b, &dogpile.Options{Hooks: &dogpile.Hooks{Store: func(_ context.Context, got dogpile.Event) { e = got }}})
		c := dogpile.NewCache[int](r, nil)
		wantErr(t, "Set", c.Set(bg, "other", 1), nil)
		b.in(failing("set"))
		v, err := c.GetOrCreate(bg, "k", constant(1).create)
		wantValue(t, "GetOrCreate", v, err, 1)
		if e.Op != "store" || e.Key != "k" || !errors.Is(e.Err, errBackend) {
			t.Errorf("told %+v", e)
		}
	})
}

func TestPanicsOfHooksAreLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newLogbook()
		r := newRegion(t, newMemory(t), log.options(dogpile.Options{Hooks: &dogpile.Hooks{Miss: func(context.Context, dogpile.Event) { panic("oops") }}}))
		c := dogpile.NewCache[int](r, nil)
		for range 10 {
			_, _, _ = c.Get(bg, "k")
		}
		later(time.Second)
		records, sum := log.all()
		if len(records) != 2 || sum != 10 || records[0].message != "dogpile: hook failed" || !strings.Contains(fmt.Sprint(records[0].attrs["error"]), "oops") {
			t.Errorf("logged %+v", records)
		}
	})
}

// Not parallel: it sets the default logger.
func TestTheLogIsOn(t *testing.T) {
	before, w, flags := slog.Default(), log.Writer(), log.Flags()
	defer func() {
		slog.SetDefault(before)
		log.SetOutput(w) // which a default of one's own changes
		log.SetFlags(flags)
	}()
	synctest.Test(t, func(t *testing.T) {
		b := newFake(t, like{})
		r := dogpile.NewRegion("users")
		wantErr(t, "Configure", r.Configure(b, nil), nil)
		log := newLogbook() // after Configure: it is the default of the moment that counts
		slog.SetDefault(slog.New(log))
		c := dogpile.NewCache[int](r, nil)
		b.in(failing("get"))
		for range 1000 {
			_, _ = c.GetOrCreate(bg, "k", constant(1).create)
		}
		wantErr(t, "Close", r.Close(bg), nil)
		if records, sum := log.all(); len(records) != 2 || sum != 1000 || records[0].attrs["region"] != "users" {
			t.Errorf("logged %+v", records)
		}
	})
}

// TestRetriesAreInTheDefaultLog: who reads there that a delete has failed reads there too
// that it was done.
func TestRetriesAreInTheDefaultLog(t *testing.T) {
	before, w, flags := slog.Default(), log.Writer(), log.Flags()
	defer func() {
		slog.SetDefault(before)
		log.SetOutput(w)
		log.SetFlags(flags)
	}()
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		slog.SetDefault(slog.New(slog.NewTextHandler(&text, nil)))
		b := newFake(t, like{})
		r := dogpile.NewRegion("users")
		wantErr(t, "Configure", r.Configure(b, &dogpile.Options{RetryDeletes: 1}), nil)
		b.in(failing("delete"))
		wantErr(t, "Delete", r.Delete(bg, "k"), dogpile.ErrPending)
		b.in(nil)
		time.Sleep(5 * time.Second)
		wantErr(t, "Close", r.Close(bg), nil)
		if !strings.Contains(text.String(), `level=INFO msg="dogpile: delete done that had failed" region=users keys=1 key=k`) {
			t.Errorf("logged %s", text.String())
		}
	})
}

// TestDeleteThatIsGivenUpIsLogged, and not left out among the tries before that have failed
// alike.
func TestDeleteThatIsGivenUpIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newLogbook()
		b := newFake(t, like{})
		r := newRegion(t, b, &dogpile.Options{RetryDeletes: 1, Logger: slog.New(log)})
		b.in(failing("delete"))
		wantErr(t, "Delete", r.Delete(bg, "a"), dogpile.ErrPending)
		later(300 * time.Millisecond) // it was tried again
		wantErr(t, "Delete", r.Delete(bg, "b"), dogpile.ErrPending)
		records, _ := log.all()
		if last := records[len(records)-1]; len(records) != 2 || last.attrs["key"] != "a" || !strings.Contains(fmt.Sprint(last.attrs["error"]), "given up: connection refused") {
			t.Errorf("logged %+v", records)
		}
		b.in(nil)
	})
}

// A handler that hangs holds up neither the callers that are left out nor, for
// longer than its context allows, Close.
func TestLogHandlerThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &stuckLog{Handler: slog.DiscardHandler, gate: make(chan struct{}), left: 1}
		b := newFake(t, like{})
		r := newRegion(t, b, &dogpile.Options{Logger: slog.New(log)})
		c := dogpile.NewCache[int](r, nil)
		b.in(failing("get"))
		began := time.Now()
		for range 10 {
			_, _ = c.GetOrCreate(bg, "k", constant(1).create)
		}
		later(time.Second) // the second record hangs
		for range 10 {
			_, _ = c.GetOrCreate(bg, "k", constant(1).create)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("calls took %v", took-time.Second)
		}
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		began = time.Now()
		_ = r.Close(ctx)
		if took := time.Since(began); took > time.Second {
			t.Errorf("Close took %v with a context of 1 s", took)
		}
		close(log.gate)
	})
}

// stuckLog hangs after some records.
type stuckLog struct {
	slog.Handler
	gate chan struct{}
	mu   sync.Mutex
	left int
}

func (*stuckLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *stuckLog) Handle(context.Context, slog.Record) error {
	l.mu.Lock()
	l.left--
	hang := l.left < 0
	l.mu.Unlock()
	if hang {
		<-l.gate
	}
	return nil
}

// Not parallel: it sets the default logger.
func TestTheLogTellsOfDeletesDoneAtLast(t *testing.T) {
	before, w, flags := slog.Default(), log.Writer(), log.Flags()
	defer func() {
		slog.SetDefault(before)
		log.SetOutput(w)
		log.SetFlags(flags)
	}()
	synctest.Test(t, func(t *testing.T) {
		b := newFake(t, like{})
		r := dogpile.NewRegion("users")
		wantErr(t, "Configure", r.Configure(b, &dogpile.Options{RetryDeletes: 10}), nil)
		log := newLogbook()
		slog.SetDefault(slog.New(log))
		b.in(failing("delete"))
		wantErr(t, "Delete", r.Delete(bg, "k"), dogpile.ErrPending)
		heals(t, b, r)
		wantErr(t, "Close", r.Close(bg), nil)
		records, _ := log.all()
		done := func(r record) bool { return strings.Contains(r.message, "done that had failed") }
		if !slices.ContainsFunc(records, done) {
			t.Errorf("logged %+v", records)
		}
	})
}
