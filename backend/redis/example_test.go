package redis_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/proxy"
)

// The servers of the examples.
func address() string     { return sharedServer(backendtest.ForExamples()).addr }
func sentinelURL() string { return startSentinel(backendtest.ForExamples(), nil).url() }
func clusterURL() string  { return startCluster(backendtest.ForExamples(), nil).url() }

func socketURL() string {
	s := newServer(backendtest.ForExamples())
	s.args = append(s.args, "--unixsocket", s.dir+"/s")
	s.Start(backendtest.ForExamples())
	return "redis+unix://" + s.dir + "/s?db=1"
}

func tlsServer() (addr, ca string) {
	t := backendtest.ForExamples()
	id, s := backendtest.NewIdentity(t), newServer(t)
	s.secure(id, "--tls-auth-clients", "no")
	s.Start(t)
	return s.addr, id.CA
}

// show keeps a value in b and finds it again.
func show(b driver.Backend) {
	ctx := context.Background()
	err := b.Set(ctx, []driver.Item{{Key: "example", Data: []byte("value"), TTL: time.Minute}})
	items := []driver.Item{{Key: "example"}}
	err = errors.Join(err, b.Get(ctx, items))
	fmt.Println(string(items[0].Data), err)
}

func Example() {
	ctx := context.Background()
	backend, err := redis.Open(ctx, "redis://"+address(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer backend.Close()

	region := dogpile.NewRegion("users")
	if err := region.Configure(backend, &dogpile.Options{Expiration: time.Hour}); err != nil {
		fmt.Println(err)
		return
	}
	name := dogpile.NewFunc(region, "name", func(_ context.Context, id int) (string, error) {
		fmt.Println("looking up", id)
		return fmt.Sprint("user ", id), nil
	}, nil)
	for range 2 {
		fmt.Println(name.Call(ctx, 42))
	}
	// Output:
	// looking up 42
	// user 42 <nil>
	// user 42 <nil>
}

func ExampleNew() {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	b, err := redis.New(client, &redis.Options{Breaker: &proxy.BreakerOptions{Failures: 10}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close() // the client stays open
	show(b)
	// Output: value <nil>
}

func ExampleOpen() {
	b, err := redis.Open(context.Background(), "redis://"+address()+"/2?timeout=500ms", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	// Output: value <nil>
}

func ExampleOpen_sentinel() {
	url := sentinelURL() // redis+sentinel://h1:26379,h2:26379,h3:26379/mymaster/0
	b, err := redis.Open(context.Background(), url, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	// Output: value <nil>
}

func ExampleOpen_cluster() {
	url := clusterURL() // redis+cluster://h1:7000,h2:7000,h3:7000
	b, err := redis.Open(context.Background(), url, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	// Output: value <nil>
}

func ExampleOpen_tls() {
	addr, ca := tlsServer()
	b, err := redis.Open(context.Background(), "rediss://"+addr+"?ca_file="+ca, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	// Output: value <nil>
}

func ExampleOpen_unixSocket() {
	url := socketURL() // redis+unix:///run/redis/redis.sock?db=1
	b, err := redis.Open(context.Background(), url, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	// Output: value <nil>
}

// A region from settings, as configure_from_config makes one.
func Example_settings() {
	region := dogpile.NewRegion("settings")
	err := region.ConfigureFrom(context.Background(), map[string]string{
		"cache.backend":           "redis://" + address(),
		"cache.arguments.db":      "4",
		"cache.arguments.timeout": "0.5",
		"cache.expiration":        "1h",
	}, "cache.")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer region.Close(context.Background())
	cache := dogpile.NewCache[int](region, nil)
	fmt.Println(cache.GetOrCreate(context.Background(), "answer", func(context.Context) (int, error) { return 42, nil }))
	// Output: 42 <nil>
}

// A region that shares values and lock with Python's
//
//	make_region(serializer=lambda v: json.dumps(v).encode(), deserializer=json.loads).configure(
//	    "dogpile.cache.redis", arguments={"distributed_lock": True, "thread_local_lock": False, "lock_timeout": 30})
//
// and a function of its module myapp.tools.
func Example_python() {
	b, err := redis.Open(context.Background(), "redis://"+address(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	region := dogpile.NewRegion("")
	err = region.Configure(b, &dogpile.Options{Expiration: time.Hour, Prefix: dogpile.NoPrefix, KeyFunc: dogpile.PythonKeys("myapp.tools")})
	if err != nil {
		fmt.Println(err)
		return
	}
	add := dogpile.NewFunc2(region, "add", func(_ context.Context, a, b int) (int, error) { return a + b, nil }, nil)
	fmt.Println(add.Key(1, 2))
	fmt.Println(add.Call(context.Background(), 1, 2))
	// Output:
	// myapp.tools:add|1 2 <nil>
	// 3 <nil>
}

func ExampleBackend_Client() {
	ctx := context.Background()
	b, err := redis.Open(ctx, "redis://"+address(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	fmt.Println(b.Client()) // no call has connected yet
	if err := b.Get(ctx, []driver.Item{{Key: "any"}}); err != nil {
		fmt.Println(err)
		return
	}
	c := b.Client()
	fmt.Println(c.Do(ctx, c.B().Echo().Message("hello").Build()).ToString())
	// Output:
	// <nil>
	// hello <nil>
}

// Copies in the process answer hits, and hear of what other processes change.
func ExampleBackend_Watch() {
	ctx := context.Background()
	var here, elsewhere dogpile.Region // in two processes
	for _, region := range []*dogpile.Region{&here, &elsewhere} {
		backend, err := redis.Open(ctx, "redis://"+address(), nil)
		if err == nil {
			defer backend.Close()
			defer region.Close(ctx)
			err = region.Configure(backend, &dogpile.Options{
				Prefix: "near:", Near: &dogpile.Near{Lag: 100 * time.Millisecond, Exact: true},
			})
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	origin := "old"
	greeting := dogpile.NewFunc0(&here, "greeting", func(context.Context) (string, error) { return origin, nil }, nil)
	for range 1000 {
		if _, err := greeting.Call(ctx); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println("most hits are near:", here.Stats().NearHits > 900)
	origin = "new"
	// It returns when no process has an older copy.
	fmt.Println(elsewhere.Delete(ctx, "greeting"))
	fmt.Println(greeting.Call(ctx))
	// Output:
	// most hits are near: true
	// <nil>
	// new <nil>
}
