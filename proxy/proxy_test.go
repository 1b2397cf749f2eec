package proxy_test

import (
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/backend/null"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
	"github.com/dogpile-go/dogpile/proxy"
)

// gentle are the stock proxies as drivertest can bear them, each and all.
var gentle = map[string]func(driver.Backend) driver.Backend{
	"Compress":      proxy.Compress(nil),
	"Compress zstd": proxy.Compress(&proxy.CompressOptions{Zstd: true}),
	"Compress all":  proxy.Compress(&proxy.CompressOptions{MinSize: -1, MaxSize: -1}),
	"Log":           proxy.Log(quiet),
	"Chaos":         proxy.Chaos(nil),
	"all of them": func(b driver.Backend) driver.Backend {
		return proxy.Log(quiet)(proxy.Compress(nil)(proxy.Chaos(&proxy.ChaosOptions{Hang: 1, Error: 1, Ops: 1 << 20})(b)))
	},
}

func TestProxyContract(t *testing.T) {
	for name, wrap := range gentle {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.RunProxy(t, wrap, nil)
		})
	}
}

func TestContractOverMemory(t *testing.T) {
	for name, wrap := range gentle {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, func(t *testing.T) driver.Backend { return wrap(backend(t)) }, &drivertest.Options{Bubble: true})
		})
	}
}

func TestContractOverNull(t *testing.T) {
	for name, wrap := range gentle {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, func(*testing.T) driver.Backend { return wrap(null.New()) }, &drivertest.Options{Bubble: true})
		})
	}
}

func TestProxiesDoNotClaimToBeInMemory(t *testing.T) {
	t.Parallel()
	for name, wrap := range gentle {
		if driver.CapsOf(wrap(null.New())).InMemory {
			t.Errorf("%s: Caps.InMemory is set", name)
		}
	}
}

func backend(t testing.TB) *memory.Backend {
	t.Helper()
	b, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func set(t testing.TB, b driver.Backend, key, data string) error {
	t.Helper()
	items := []driver.Item{{Key: key, Data: []byte(data), TTL: time.Hour}}
	if err := b.Set(t.Context(), items); err != nil {
		t.Fatalf("Set = %v", err)
	}
	return items[0].Err
}

func get(t testing.TB, b driver.Backend, key string) driver.Item {
	t.Helper()
	items := []driver.Item{{Key: key}}
	if err := b.Get(t.Context(), items); err != nil {
		t.Fatalf("Get = %v", err)
	}
	return items[0]
}
