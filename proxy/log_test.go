package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

var quiet = slog.New(slog.DiscardHandler)

// logTo returns a logger at level that writes records without time and took to
// the buffer.
func logTo(buf *bytes.Buffer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(buf, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "took" {
			return slog.Attr{}
		}
		return a
	}}))
}

func calls(t *testing.T, b driver.Backend) {
	t.Helper()
	lock := b.(driver.Locker)
	_, err1 := lock.TryLock(t.Context(), "a", time.Minute)
	_, err2 := lock.TryLock(t.Context(), "a", time.Minute)
	_, err3 := lock.Locked(t.Context(), "a")
	if err := errors.Join(err1, err2, err3, set(t, b, "a", "secret"),
		b.Get(t.Context(), []driver.Item{{Key: "a"}, {Key: "b"}}),
		lock.Wait(t.Context(), "a"), b.Delete(t.Context(), []string{"a", "b"})); err != nil {
		t.Error(err)
	}
}

func TestLogWritesOneRecordForEachOperation(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	calls(t, proxy.Log(logTo(&buf, slog.LevelDebug))(backend(t)))
	want := `level=DEBUG msg="cache trylock" key=a ttl=1m0s won=true backend=memory
level=DEBUG msg="cache trylock" key=a ttl=1m0s won=false backend=memory
level=DEBUG msg="cache locked" key=a locked=true backend=memory
level=DEBUG msg="cache set" keys=[a] backend=memory
level=DEBUG msg="cache get" keys="[a b]" found=1 backend=memory
level=DEBUG msg="cache wait" key=a backend=memory
level=DEBUG msg="cache delete" keys="[a b]" backend=memory
`
	if buf.String() != want {
		t.Errorf("logged\n%s\nwant\n%s", &buf, want)
	}
}

func TestLogTellsOfHoldersAndListings(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	b := proxy.Log(logTo(&buf, slog.LevelDebug))(known{driver.Proxy{Backend: backend(t)}})
	_, _, err1 := b.(driver.Holders).Holder(t.Context(), "a")
	_, _, err2 := b.(driver.Holders).Holder(t.Context(), "none")
	err3 := set(t, b, "a1", "secret")
	err4 := b.(driver.Scanner).Scan(t.Context(), "a", func(driver.Found) bool { return true })
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Error(err)
	}
	want := `level=DEBUG msg="cache holder" key=a held=true holder="process 7 on \"web-1\"" backend=memory
level=DEBUG msg="cache holder" key=none held=false backend=memory
level=DEBUG msg="cache set" keys=[a1] backend=memory
level=DEBUG msg="cache scan" prefix=a found=1 backend=memory
`
	if buf.String() != want {
		t.Errorf("logged\n%s\nwant\n%s", &buf, want)
	}
}

// known tells who holds the lease on a.
type known struct{ driver.Proxy }

func (known) Holder(_ context.Context, key string) (h driver.Holder, held bool, err error) {
	if key == "a" {
		h, held = driver.Holder{Host: "web-1", PID: 7}, true
	}
	return h, held, nil
}

func TestLogNeverWritesValues(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	b := proxy.Log(logTo(&buf, slog.LevelDebug))(backend(t))
	calls(t, b)
	if err := b.Set(t.Context(), []driver.Item{{Key: "k", Object: "secret"}, {Key: "l", Data: []byte("secret")}}); err != nil {
		t.Error(err)
	}
	if strings.Contains(buf.String(), "secret") {
		t.Errorf("logged %s", &buf)
	}
}

func TestLogWritesErrorsAtWarn(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	down := errors.New("connection refused")
	b := proxy.Log(logTo(&buf, slog.LevelWarn))(proxy.Chaos(&proxy.ChaosOptions{Error: 1, Err: down})(backend(t)))
	lock := b.(driver.Locker)
	_, err1 := lock.TryLock(t.Context(), "k", time.Minute)
	_, err2 := lock.Locked(t.Context(), "k")
	for _, err := range []error{err1, err2, lock.Wait(t.Context(), "k"), b.Get(t.Context(), []driver.Item{{Key: "k"}}),
		b.Set(t.Context(), []driver.Item{{Key: "k"}}), b.Delete(t.Context(), []string{"k"})} {
		if err != down {
			t.Errorf("the error became %v", err)
		}
	}
	if n := strings.Count(buf.String(), `level=WARN msg="cache `); n != 6 || strings.Count(buf.String(), `error="connection refused"`) != 6 {
		t.Errorf("logged\n%s\nwant 6 warnings", &buf)
	}
}

func TestLogWarnsOfAnItemsError(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	inner := backend(t)
	if err := set(t, inner, "bad", magic+"x"); err != nil {
		t.Fatal(err)
	}
	b := proxy.Log(logTo(&buf, slog.LevelWarn))(proxy.Compress(nil)(inner))
	if it := get(t, b, "bad"); it.Err == nil {
		t.Error("no Err")
	}
	if !strings.Contains(buf.String(), "level=WARN") || !strings.Contains(buf.String(), "corrupt") {
		t.Errorf("logged %q", &buf)
	}
	buf.Reset()
	calls(t, b)
	if buf.Len() > 0 {
		t.Errorf("logged %q at warn where nothing failed", &buf)
	}
}

// off is a handler that is not enabled and fails the test when it is used.
type off struct {
	slog.Handler
	t *testing.T
}

func (off) Enabled(context.Context, slog.Level) bool { return false }

func (o off) Handle(context.Context, slog.Record) error {
	o.t.Error("a record was made that nobody wants")
	return nil
}

func TestLogThatIsOffMakesNoRecords(t *testing.T) {
	t.Parallel()
	calls(t, proxy.Log(slog.New(off{slog.DiscardHandler, t}))(backend(t)))
}

func TestLogWithoutALoggerUsesTheDefault(t *testing.T) {
	var buf bytes.Buffer
	old := slog.Default()
	defer slog.SetDefault(old)
	b := proxy.Log(nil)(backend(t))
	slog.SetDefault(logTo(&buf, slog.LevelDebug))
	calls(t, b)
	if n := strings.Count(buf.String(), "\n"); n != 7 {
		t.Errorf("%d records, want 7", n)
	}
}
