package proxy

import (
	"context"
	"log/slog"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// Log returns a proxy that writes one record for every operation to l: at
// level debug, or at level warn where the operation or one of its items has an
// error. A record has the backend's name, the keys, the time taken and what
// came of it; values are never written. Extend and Release go to the lease
// itself and are not seen. With a nil l records go to [slog.Default] as it is at
// the time of each operation.
func Log(l *slog.Logger) func(driver.Backend) driver.Backend {
	return func(b driver.Backend) driver.Backend {
		return &logger{Proxy: driver.Proxy{Backend: b}, log: l, name: driver.CapsOf(b).Name}
	}
}

type logger struct {
	driver.Proxy
	log  *slog.Logger // nil: slog.Default
	name string
}

// Get implements [driver.Backend].
func (l *logger) Get(ctx context.Context, items []driver.Item) error {
	start := time.Now()
	err := l.Proxy.Get(ctx, items)
	l.batch(ctx, "get", start, items, err)
	return err
}

// Set implements [driver.Backend].
func (l *logger) Set(ctx context.Context, items []driver.Item) error {
	start := time.Now()
	err := l.Proxy.Set(ctx, items)
	l.batch(ctx, "set", start, items, err)
	return err
}

// Delete implements [driver.Backend].
func (l *logger) Delete(ctx context.Context, keys []string) error {
	start := time.Now()
	err := l.Proxy.Delete(ctx, keys)
	l.record(ctx, "delete", start, err, slog.Any("keys", keys))
	return err
}

// TryLock implements [driver.Locker].
func (l *logger) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	start := time.Now()
	lease, err := l.Proxy.TryLock(ctx, key, ttl)
	l.record(ctx, "trylock", start, err, slog.String("key", key), slog.Duration("ttl", ttl), slog.Bool("won", lease != nil))
	return lease, err
}

// Wait implements [driver.Locker].
func (l *logger) Wait(ctx context.Context, key string) error {
	start := time.Now()
	err := l.Proxy.Wait(ctx, key)
	l.record(ctx, "wait", start, err, slog.String("key", key))
	return err
}

// Locked implements [driver.Locker].
func (l *logger) Locked(ctx context.Context, key string) (bool, error) {
	start := time.Now()
	locked, err := l.Proxy.Locked(ctx, key)
	l.record(ctx, "locked", start, err, slog.String("key", key), slog.Bool("locked", locked))
	return locked, err
}

// Holder implements [driver.Holders].
func (l *logger) Holder(ctx context.Context, key string) (driver.Holder, bool, error) {
	start := time.Now()
	h, held, err := l.Proxy.Holder(ctx, key)
	attrs := []slog.Attr{slog.String("key", key), slog.Bool("held", held)}
	if held {
		attrs = append(attrs, slog.String("holder", h.String()))
	}
	l.record(ctx, "holder", start, err, attrs...)
	return h, held, err
}

// Scan implements [driver.Scanner].
func (l *logger) Scan(ctx context.Context, prefix string, found func(driver.Found) bool) error {
	start := time.Now()
	n := 0
	err := l.Proxy.Scan(ctx, prefix, func(f driver.Found) bool {
		n++
		return found(f)
	})
	l.record(ctx, "scan", start, err, slog.String("prefix", prefix), slog.Int("found", n))
	return err
}

func (l *logger) batch(ctx context.Context, op string, start time.Time, items []driver.Item, err error) {
	if !l.enabled(ctx, slog.LevelWarn) {
		return
	}
	var keys []string
	found := 0
	for i := range items {
		keys = append(keys, items[i].Key)
		if items[i].Found() {
			found++
		}
		if err == nil {
			err = items[i].Err
		}
	}
	attrs := []slog.Attr{slog.Any("keys", keys)}
	if op == "get" {
		attrs = append(attrs, slog.Int("found", found))
	}
	l.record(ctx, op, start, err, attrs...)
}

func (l *logger) record(ctx context.Context, op string, start time.Time, err error, attrs ...slog.Attr) {
	level := slog.LevelDebug
	if err != nil {
		level = slog.LevelWarn
		attrs = append(attrs, slog.Any("error", err))
	}
	if !l.enabled(ctx, level) {
		return
	}
	attrs = append(attrs, slog.String("backend", l.name), slog.Duration("took", time.Since(start)))
	l.logger().LogAttrs(ctx, level, "cache "+op, attrs...)
}

func (l *logger) enabled(ctx context.Context, level slog.Level) bool {
	return l.logger().Enabled(ctx, level)
}

func (l *logger) logger() *slog.Logger {
	if l.log != nil {
		return l.log
	}
	return slog.Default()
}
