package memcached_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/proxy"
)

// The servers of the examples.
func address() string     { return sharedServer(backendtest.ForExamples()).Addr() }
func addresses() []string { return startCluster(backendtest.ForExamples()).hosts() }
func socket() string      { return backendtest.StartMemcachedSocket(backendtest.ForExamples()).Addr() }

func tlsServer() (addr, ca string) {
	s, id := startTLS(backendtest.ForExamples())
	return s.Addr(), id.CA
}

func saslServer() string { return startSASL(backendtest.ForExamples(), "ann", "secret").Addr() }

func passwordServer() string {
	t := backendtest.ForExamples()
	file := filepath.Join(t.TempDir(), "users")
	ok(t, os.WriteFile(file, []byte("ann:secret\n"), 0o600))
	return startServer(t, "-Y", file).Addr()
}

func secretFile(text string) string {
	t := backendtest.ForExamples()
	file := filepath.Join(t.TempDir(), "secret")
	ok(t, os.WriteFile(file, []byte(text), 0o600))
	return file
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
	backend, err := memcached.Open(ctx, "memcached://"+address(), nil)
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
	hosts := addresses() // 10.0.0.1:11211 and so on
	hosts[0] += "*2"     // twice as many keys

	b, err := memcached.New(hosts, &memcached.Options{Breaker: &proxy.BreakerOptions{Failures: 10}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	// Output: value <nil>
}

func ExampleOpen() {
	b, err := memcached.Open(context.Background(), "memcached://"+address()+"?timeout=5s&connect_timeout=5", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	// Output: value <nil>
}

func ExampleOpen_servers() {
	hosts := strings.Join(addresses(), ",") // host1:11211,host2*2,host3
	b, err := memcached.Open(context.Background(), "memcached://"+hosts+"/?hash=ketama_weighted&breaker_cooldown=1", nil)
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
	b, err := memcached.Open(context.Background(), "memcacheds://"+addr+"?ca_file="+ca, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	// Output: value <nil>
}

func ExampleOpen_unixSocket() {
	path := socket() // /run/memcached/memcached.sock
	b, err := memcached.Open(context.Background(), "memcached+unix://"+path, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	// Output: value <nil>
}

// A server that was started with -Y.
func ExampleOpen_password() {
	b, err := memcached.Open(context.Background(), "memcached://ann:secret@"+passwordServer(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	// Output: value <nil>
}

// A password in a file, which is read for each connection.
func ExampleOpen_passwordFile() {
	file := secretFile("secret\n") // "/run/secrets/memcached" or the like
	b, err := memcached.Open(context.Background(), "memcached://ann@"+passwordServer()+"?password_file="+file, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	// Output: value <nil>
}

// Passwords that rotate: each connection asks for the one of now.
func ExampleOptions_credentials() {
	b, err := memcached.New([]string{passwordServer()}, &memcached.Options{
		Credentials: func(context.Context) (user, password string, err error) {
			return "ann", "secret", nil // of a vault, say
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	// Output: value <nil>
}

func ExampleBackend_Shard() {
	b, err := memcached.New([]string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	for _, key := range []string{"anchovy", "bream", "cod"} {
		fmt.Println(key, b.Shard(key))
	}
	// Output:
	// anchovy 10.0.0.1:11211
	// bream 10.0.0.2:11211
	// cod 10.0.0.2:11211
}

// A server that was started with -S.
func ExampleOpen_sasl() {
	b, err := memcached.Open(context.Background(), "memcached://ann:secret@"+saslServer()+"?protocol=binary", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	fmt.Println("fenced:", b.Caps().Fenced)
	// Output:
	// value <nil>
	// fenced: false
}

// A region from settings, as configure_from_config makes one.
func Example_settings() {
	region := dogpile.NewRegion("settings")
	err := region.ConfigureFrom(context.Background(), map[string]string{
		"cache.backend":                   "memcached://" + address(),
		"cache.arguments.connect_timeout": "2",
		"cache.arguments.hash":            "crc32",
		"cache.expiration":                "1h",
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
//	    "dogpile.cache.pylibmc", arguments={"url": [...], "behaviors": {"ketama": True},
//	                                        "distributed_lock": True, "lock_timeout": 30})
//
// and a function of its module myapp.tools.
func Example_python() {
	b, err := memcached.Open(context.Background(), "memcached://"+address()+"?hash=ketama&python_lock=true", nil)
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
	double := dogpile.NewFunc(region, "double", func(_ context.Context, n int) (int, error) { return 2 * n, nil }, nil)
	fmt.Println(double.Key(21))
	fmt.Println(double.Call(context.Background(), 21))
	// Output:
	// myapp.tools:double|21 <nil>
	// 42 <nil>
}
