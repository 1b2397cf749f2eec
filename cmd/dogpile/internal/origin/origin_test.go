package origin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/origin"
)

func TestRenderIsDeterministic(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	for i := range 20 {
		key := fmt.Sprintf("/tile/%d", i)
		one, cpu, err := origin.Render(t.Context(), key, 40)
		if err != nil || cpu < 0 {
			t.Fatalf("%s: %v, CPU time %v", key, err, cpu)
		}
		two, _, err := origin.Render(t.Context(), key, 40)
		if err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s: the second tile differs from the first (%v)", key, err)
		}
		img, err := png.Decode(bytes.NewReader(one))
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		if b := img.Bounds(); b.Dx() != 40 || b.Dy() != 40 {
			t.Errorf("%s: %d×%d pixels", key, b.Dx(), b.Dy())
		}
		if other, same := seen[string(one)]; same {
			t.Errorf("%s looks like %s", key, other)
		}
		seen[string(one)] = key
	}
}

func TestRenderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	data, _, err := origin.Render(ctx, "/a", 1_000)
	if !errors.Is(err, context.Canceled) || data != nil {
		t.Errorf("%d bytes, error %v", len(data), err)
	}
}

// A tile of the map shows what the four tiles show that are in its place at the next zoom.
func TestTilesFitTogether(t *testing.T) {
	t.Parallel()
	decoded := func(zoom, x, y, size int) image.Image {
		t.Helper()
		data, _, err := origin.Tile(t.Context(), zoom, x, y, size)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	for _, at := range [][3]int{{0, 0, 0}, {2, 1, 2}, {origin.Deepest - 1, 1 << 30, 1<<30 + 12345}} {
		const half = 16
		whole, differ, colours := decoded(at[0], at[1], at[2], 2*half), 0, make(map[color.Color]bool)
		for i := range 4 {
			quarter := decoded(at[0]+1, 2*at[1]+i%2, 2*at[2]+i/2, half)
			for j := range half * half {
				x, y := j%half, j/half
				c := quarter.At(x, y)
				colours[c] = true
				if c != whole.At(i%2*half+x, i/2*half+y) {
					differ++ // a number may be rounded the other way
				}
			}
		}
		if differ > 2*half || at[0] == 0 && len(colours) < 10 {
			t.Errorf("%v: %d of %d pixels differ; %d colours", at, differ, 4*half*half, len(colours))
		}
	}
}

func TestSizeFollowsCost(t *testing.T) {
	t.Parallel()
	keys := []string{"/a", "/b"}
	if size, err := origin.Size(t.Context(), keys, 1); size != 1 || err != nil {
		t.Errorf("for 1 ns: size %d, %v; want 1", size, err)
	}
	low, err1 := origin.Size(t.Context(), keys, time.Millisecond)
	high, err2 := origin.Size(t.Context(), keys, 10*time.Second)
	if low >= high || err1 != nil || err2 != nil {
		t.Errorf("size %d for 1 ms and %d for 10 s (%v, %v)", low, high, err1, err2)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := origin.Size(ctx, keys, time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// Nobody gets a turn, so that all callers are there at once.
func TestCreateCountsCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, start := origin.New(0, 10), time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var callers sync.WaitGroup
		ask := func(key string) {
			callers.Go(func() {
				if _, err := o.Create(ctx, key); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v", key, err)
				}
			})
		}
		ask("a")
		synctest.Wait()
		<-time.After(time.Second)
		ask("a")
		ask("b")
		ask("a")
		callers.Wait()
		ask("b") // too late to count
		callers.Wait()
		s := o.Stats()
		var at []time.Duration
		for _, c := range s.Creations {
			at = append(at, c.Sub(start))
		}
		want := []time.Duration{0, time.Second, time.Second, time.Second}
		if !slices.Equal(at, want) || s.MaxCreators != 3 || s.CPU != 0 {
			t.Errorf("creations at %v, %d creators at once, CPU time %v; want %v, 3, 0", at, s.MaxCreators, s.CPU, want)
		}
	})
}

func TestCreateTakesTurns(t *testing.T) {
	t.Parallel()
	o := origin.New(1, 30)
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			data, err := o.Create(t.Context(), "/a")
			if err != nil {
				t.Error(err)
			}
			if _, err := png.Decode(bytes.NewReader(data)); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if s := o.Stats(); len(s.Creations) != 4 || s.CPU <= 0 {
		t.Errorf("%d creations, CPU time %v", len(s.Creations), s.CPU)
	}
}
