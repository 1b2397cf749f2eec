package file_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
	"github.com/dogpile-go/dogpile/proxy"
)

// over makes backends over one file for drivertest.Run, which closes them.
func over(path string, o *file.Options) func(t *testing.T) driver.Backend {
	return func(t *testing.T) driver.Backend {
		b, err := file.Open(t.Context(), path, o)
		ok(t, err)
		return b
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*file.Options{
		"plain":   {Timeout: slow},
		"bounded": {MaxBytes: 64 << 20, Timeout: -1, Reset: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, over(place(t), o), nil)
		})
	}
}

func TestContractUnderProxies(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(driver.Backend) driver.Backend{
		"compress": proxy.Compress(nil),
		"log":      proxy.Log(nil),
		"chaos":    proxy.Chaos(nil),
		"breaker":  proxy.Breaker(nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := place(t)
			drivertest.Run(t, func(t *testing.T) driver.Backend {
				return wrap(over(path, &file.Options{Timeout: slow})(t))
			}, nil)
		})
	}
}

// several are Backends on one file that take turns.
type several struct {
	all  []*file.Backend
	turn atomic.Int64
}

func (s *several) next() *file.Backend { return s.all[int(s.turn.Add(1))%len(s.all)] }

func (s *several) Caps() driver.Caps { return s.all[0].Caps() }

func (s *several) Get(ctx context.Context, items []driver.Item) error {
	return s.next().Get(ctx, items)
}

func (s *several) Set(ctx context.Context, items []driver.Item) error {
	return s.next().Set(ctx, items)
}

func (s *several) Delete(ctx context.Context, keys []string) error {
	return s.next().Delete(ctx, keys)
}

func (s *several) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	return s.next().TryLock(ctx, key, ttl)
}

func (s *several) Wait(ctx context.Context, key string) error { return s.next().Wait(ctx, key) }

func (s *several) Locked(ctx context.Context, key string) (bool, error) {
	return s.next().Locked(ctx, key)
}

func (s *several) Close() (err error) {
	for _, b := range s.all {
		err = errors.Join(err, b.Close())
	}
	return err
}

func TestContractOfBackendsThatShareAFile(t *testing.T) {
	t.Parallel()
	path := place(t)
	drivertest.Run(t, func(t *testing.T) driver.Backend {
		s := &several{}
		for range 3 {
			s.all = append(s.all, over(path, &file.Options{Timeout: slow})(t).(*file.Backend))
		}
		return s
	}, nil)
}

func TestCaps(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		o                 file.Options
		timeout, maxValue int64
	}{
		{file.Options{}, int64(file.DefaultTimeout), 32 << 20},
		{file.Options{Timeout: -1}, 0, 32 << 20},
		{file.Options{Timeout: time.Minute, MaxBytes: 1 << 20}, int64(time.Minute), 256 << 10},
	} {
		b, err := file.Open(t.Context(), place(t), &row.o)
		ok(t, err)
		defer b.Close()
		want := driver.Caps{Name: "file", Shared: true, Locks: true, Fenced: true, TTLUnit: time.Millisecond, Timeout: time.Duration(row.timeout), MaxValue: int(row.maxValue)}
		got := driver.CapsOf(b)
		if got.Mangle != nil {
			t.Error("a file takes any key")
		}
		if got.Name != want.Name || got.Shared != want.Shared || got.Locks != want.Locks || got.Fenced != want.Fenced || got.TTLUnit != want.TTLUnit ||
			got.Timeout != want.Timeout || got.MaxValue != want.MaxValue || got.Objects || got.InMemory || got.Discards || got.MaxKeyLen != 0 {
			t.Errorf("%+v has %+v", row.o, got)
		}
	}
}
