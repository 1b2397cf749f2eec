package dogpiletest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// users and loadUser are what code to be tested has at the level of its package;
// main configures users with a backend that is not there in a test.
var (
	users    = dogpile.NewRegion("users")
	loadUser = dogpile.NewFunc(users, "user", func(_ context.Context, id int) (string, error) {
		return fmt.Sprint("user ", id), nil
	}, nil)
)

func ExampleSwap() {
	t := new(tb) // in a test: its *testing.T
	func() {
		defer t.end()
		dogpiletest.Swap(t, users, &dogpile.Options{Expiration: time.Hour})
		fmt.Println(loadUser.Call(context.Background(), 42))
	}()

	// After the test the region is as it was before.
	_, err := loadUser.Call(context.Background(), 42)
	fmt.Println(errors.Is(err, dogpile.ErrNotConfigured))
	// Output:
	// user 42 <nil>
	// true
}

// Values go through the codec, so that a test sees what a backend of bytes does
// to them.
func ExampleRegion_codec() {
	t := new(tb) // in a test: its *testing.T
	defer t.end()

	type user struct {
		Name  string
		admin bool
	}
	cache := dogpile.NewCache[user](dogpiletest.Region(t, nil), nil)
	for range 2 {
		u, err := cache.GetOrCreate(context.Background(), "ann", func(context.Context) (user, error) {
			return user{Name: "Ann", admin: true}, nil
		})
		fmt.Println(u.Name, u.admin, err)
	}
	// Output:
	// Ann true <nil>
	// Ann false <nil>
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
