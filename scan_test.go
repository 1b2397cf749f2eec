package dogpile_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/backend/null"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// vast is a backend in which nothing is the region's, and which is so large that a Scan of it
// does not end by itself.
type vast struct {
	*memory.Backend
	scanning chan struct{} // closed by the first Scan
	closed   chan struct{}
	once     sync.Once
}

func (v *vast) Scan(ctx context.Context, _ string, _ func(driver.Found) bool) error {
	v.once.Do(func() { close(v.scanning) })
	<-ctx.Done()
	return ctx.Err()
}

func (v *vast) Close() error {
	close(v.closed)
	return v.Backend.Close()
}

// vasts has the vast backends that were opened from settings, by name.
var vasts sync.Map

func newVast() (*vast, error) {
	b, err := memory.New(nil)
	return &vast{Backend: b, scanning: make(chan struct{}), closed: make(chan struct{})}, err
}

func init() {
	driver.Register("vast", func(_ context.Context, args *driver.Args) (driver.Backend, error) {
		name := args.String("name", "")
		v, err := newVast()
		vasts.Store(name, v)
		return v, errors.Join(err, args.Err())
	})
}

// scanning begins a Scan, and returns where its error goes.
func scanning(ctx context.Context, r *dogpile.Region) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- r.Scan(ctx, func(driver.Found) bool { return true }) }()
	return ended
}

// TestTheEndOfARegionEndsItsScans: also of one that finds nothing, and whether the backend is the
// user's or the region's own. What a Scan goes through is not kept open for it.
func TestTheEndOfARegionEndsItsScans(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]func(ctx context.Context, r *dogpile.Region) error{
		"Close":       func(ctx context.Context, r *dogpile.Region) error { return r.Close(ctx) },
		"Reconfigure": func(_ context.Context, r *dogpile.Region) error { return r.Reconfigure(null.New(), nil) },
	} {
		for _, owned := range []bool{true, false} {
			who := "the user's backend"
			if owned {
				who = "the region's own backend"
			}
			t.Run(name+" over "+who, func(t *testing.T) {
				t.Parallel()
				r := dogpile.NewRegion("vast")
				v, err := newVast()
				wantErr(t, "memory.New", err, nil)
				if owned {
					wantErr(t, "ConfigureFrom", r.ConfigureFrom(bg, map[string]string{"backend": "vast://?name=" + name}, ""), nil)
					opened, _ := vasts.Load(name)
					v = opened.(*vast)
				} else {
					wantErr(t, "Configure", r.Configure(v, nil), nil)
				}
				ended := scanning(bg, r)
				<-v.scanning
				ctx, cancel := context.WithTimeout(bg, time.Minute)
				defer cancel()
				wantErr(t, name, ends(ctx, r), nil)
				select {
				case err := <-ended:
					var oe *dogpile.OpError
					if !errors.Is(err, dogpile.ErrClosed) || errors.Is(err, dogpile.ErrBackend) || !errors.As(err, &oe) || oe.Op != "scan" {
						t.Errorf("Scan = %v", err)
					}
				case <-ctx.Done():
					t.Fatal("the Scan goes on")
				}
				if owned {
					select {
					case <-v.closed:
					case <-ctx.Done():
						t.Error("its backend is kept open")
					}
				}
				wantErr(t, "Close", r.Close(ctx), nil)
			})
		}
	}
}

// TestScanTellsItsCallersEnd: which is not the region's.
func TestScanTellsItsCallersEnd(t *testing.T) {
	t.Parallel()
	v, err := newVast()
	wantErr(t, "memory.New", err, nil)
	r := newRegion(t, v, nil)
	ctx, cancel := context.WithCancel(bg)
	ended := scanning(ctx, r)
	<-v.scanning
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || errors.Is(err, dogpile.ErrClosed) {
		t.Errorf("Scan = %v", err)
	}
}

// TestScanAsACallOfTheBackend: one that cannot list anything was not called, and the time that found
// takes is not the backend's.
func TestScanAsACallOfTheBackend(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told []dogpile.Event
		o := &dogpile.Options{Hooks: &dogpile.Hooks{Backend: func(_ context.Context, e dogpile.Event) {
			if e.Op == "scan" {
				told = append(told, e)
			}
		}}}
		for _, b := range []driver.Backend{threeMethods{newMemory(t)}, driver.Proxy{Backend: threeMethods{newMemory(t)}}} {
			wantErr(t, "Scan", newRegion(t, b, o).Scan(bg, func(driver.Found) bool { return true }), errors.ErrUnsupported)
		}
		if len(told) != 0 {
			t.Errorf("of backends that list nothing %+v", told)
		}
		r := newRegion(t, slowly{driver.Proxy{Backend: newMemory(t)}}, o)
		c := dogpile.NewCache[int](r, nil)
		wantErr(t, "SetMulti", c.SetMulti(bg, map[string]int{"a": 1, "b": 2}), nil)
		wantErr(t, "Scan", r.Scan(bg, func(driver.Found) bool { pass(time.Hour); return true }), nil)
		if len(told) != 1 || told[0].Duration != time.Second || told[0].Err != nil {
			t.Errorf("of a call that takes a second: %+v", told)
		}
	})
}

// TestSizesAreThoseBeforeAndAfterProxies: hooks and Inspect tell what the codec has written, and Scan
// what there is in the backend.
func TestSizesAreThoseBeforeAndAfterProxies(t *testing.T) {
	t.Parallel()
	rec := new(recorder)
	r := newRegion(t, newFake(t, like{bytes: true}), &dogpile.Options{
		Proxies: []func(driver.Backend) driver.Backend{proxy.Compress(nil)}, Hooks: rec.hooks(),
	})
	wantErr(t, "Set", dogpile.NewCache[string](r, nil).Set(bg, "k", strings.Repeat("x", 100_000)), nil)
	got, _, err := r.Inspect(bg, "k")
	wantErr(t, "Inspect", err, nil)
	wantErr(t, "Scan", r.Scan(bg, func(f driver.Found) bool {
		if told := rec.take("store")[0].Size; told < 100_000 || got.Size != told || f.Size == 0 || f.Size > 10_000 {
			t.Errorf("the sizes are %d as it is stored, %d for Inspect, and %d in the backend", told, got.Size, f.Size)
		}
		return true
	}), nil)
}

// slowly takes a second for a Scan.
type slowly struct{ driver.Proxy }

func (s slowly) Scan(ctx context.Context, prefix string, found func(driver.Found) bool) error {
	pass(time.Second)
	return s.Proxy.Scan(ctx, prefix, found)
}
