package dogpiletest_test

import (
	"context"
	"fmt"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/dogpiletest"
)

// prices is code that is to be tested.
type prices struct {
	cache *dogpile.Cache[int]
	ask   func(ctx context.Context, item string) (int, error)
}

func (p *prices) of(ctx context.Context, item string) (int, error) {
	return p.cache.GetOrCreate(ctx, item, func(ctx context.Context) (int, error) { return p.ask(ctx, item) })
}

func ExampleRegion() {
	t := new(tb) // in a test: its *testing.T
	defer t.end()

	p := &prices{
		cache: dogpile.NewCache[int](dogpiletest.Region(t, nil), nil),
		ask:   func(context.Context, string) (int, error) { fmt.Println("asked"); return 42, nil },
	}
	for range 3 {
		fmt.Println(p.of(context.Background(), "tea"))
	}
	// Output:
	// asked
	// 42 <nil>
	// 42 <nil>
	// 42 <nil>
}

func ExampleRecorder() {
	t := new(tb) // in a test: its *testing.T
	defer t.end()

	var rec dogpiletest.Recorder
	region := dogpiletest.Region(t, &dogpile.Options{Hooks: rec.Hooks()})
	p := &prices{
		cache: dogpile.NewCache[int](region, nil),
		ask:   func(context.Context, string) (int, error) { return 42, nil },
	}
	for range 3 {
		p.of(context.Background(), "tea")
	}
	fmt.Println(rec.Count("Create"), "creation,", rec.Count("Hit"), "hits")

	rec.Reset()
	region.Delete(context.Background(), "tea")
	p.of(context.Background(), "tea")
	for _, e := range rec.Events() {
		fmt.Println(e.Hook, e.Event.Key)
	}
	// Output:
	// 1 creation, 2 hits
	// Delete tea
	// Miss tea
	// Create tea
	// Store tea
}
