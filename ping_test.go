package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

func ExampleRegion_Ping() {
	ctx := context.Background()
	region := dogpile.NewRegion("users")
	fmt.Println(region.Ping(ctx))

	backend, _ := memory.New(nil)
	_ = region.Configure(backend, nil)
	fmt.Println(region.Ping(ctx))

	_ = backend.Close()
	err := region.Ping(ctx)
	fmt.Println(err, errors.Is(err, dogpile.ErrBackend))
	// Output:
	// dogpile: ping region "users": region is not configured
	// <nil>
	// dogpile: ping region "users": the memory backend is closed true
}

func TestPing(t *testing.T) {
	for name, inv := range map[string]dogpile.Invalidator{"shared": nil, "local": new(dogpile.LocalInvalidator)} {
		for _, servers := range []int{1, 4} {
			for how, trouble := range map[string]func(...string) trouble{"refuses": failing, "hangs": hanging} {
				t.Run(fmt.Sprintf("%s invalidator/%d servers/one %s", name, servers, how), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						b := newCluster(t, servers, like{bytes: true})
						var backend driver.Backend = b
						if servers == 1 {
							backend = b.servers[0]
						}
						r := newRegion(t, backend, &dogpile.Options{Invalidator: inv, BackendTimeout: 2 * serverTimeout})
						wantErr(t, "Ping", r.Ping(bg), nil)
						last := b.servers[servers-1]
						last.in(trouble("get"))
						began := time.Now()
						err := r.Ping(bg)
						wantErr(t, "Ping", err, dogpile.ErrBackend)
						wantBackendErr(t, "Ping", err)
						if servers > 1 && (!contains(err, "server3") || contains(err, "server1")) {
							t.Errorf("%v does not name server3 alone", err)
						}
						if took := time.Since(began); took > 2*serverTimeout {
							t.Errorf("it took %v", took)
						}
						ctx, cancel := context.WithCancel(bg)
						cancel()
						if err := r.Ping(ctx); how == "hangs" && (err == nil || errors.Is(err, dogpile.ErrBackend)) {
							t.Errorf("with a context that has ended: %v", err)
						}
						last.in(nil)
						wantErr(t, "Ping once it is back", r.Ping(bg), nil)
						wantErr(t, "Close", r.Close(bg), nil)
						wantErr(t, "Ping of a closed region", r.Ping(bg), dogpile.ErrClosed)
					})
				})
			}
		}
	}
}

// What a server keeps under the key that Ping asks for does not matter: it has answered.
func TestPingOfADamagedToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		r := newRegion(t, corrupt{b}, nil)
		wantErr(t, "Ping", r.Ping(bg), nil)
	})
}

// corrupt is a backend in which everything is damaged.
type corrupt struct{ *fake }

func (c corrupt) Get(ctx context.Context, items []driver.Item) error {
	for i := range items {
		items[i].Err = driver.ErrCorrupt
	}
	return nil
}
