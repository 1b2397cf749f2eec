package httpcache_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// damager is a backend that hands out what damage makes of what was stored.
type damager struct {
	driver.Proxy
	mu     sync.Mutex
	damage func([]byte) []byte
}

func (d *damager) Get(ctx context.Context, items []driver.Item) error {
	err := d.Proxy.Get(ctx, items)
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range items {
		if bytes.Contains(items[i].Data, []byte("Lifetime")) && d.damage != nil {
			items[i].Data = d.damage(slices.Clone(items[i].Data))
		}
	}
	return err
}

// damaged returns what is answered when the stored form of a response is damaged.
func damaged(t *testing.T, damage func([]byte) []byte) *http.Response {
	b, err := memory.New(&memory.Options{Copy: true})
	ok(t, err)
	d := &damager{Proxy: driver.Proxy{Backend: b}}
	region := dogpile.NewRegion(t.Name())
	ok(t, region.Configure(d, nil))
	defer region.Close(context.Background())
	cached := httpcache.Middleware(region, nil)(answers("Cache-Control: max-age=60", "X-Header: \xff\x00", `ETag: "1"`, "Vary: X"))
	do := func() *http.Response {
		w := httptest.NewRecorder()
		cached.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		return w.Result()
	}
	do()
	d.mu.Lock()
	d.damage = damage
	d.mu.Unlock()
	return do()
}

// TestStoredStatus: what is stored with a status that cannot be written is missing. A server
// panics at it, for every request until the response expires.
func TestStoredStatus(t *testing.T) {
	t.Parallel()
	ofOK := []byte("fStatus\x18\xc8")
	for _, status := range []string{"fStatus\x18\x63", "fStatus\x00", "fStatus\x19\x03\xe8", "fStatus\x20", "fStatus\x18\x67"} {
		got := damaged(t, func(data []byte) []byte {
			if !bytes.Contains(data, ofOK) {
				t.Fatalf("%q", data)
			}
			return bytes.Replace(data, ofOK, []byte(status), 1)
		})
		body, err := io.ReadAll(got.Body)
		if got.StatusCode != 200 || string(body) != "2" || err != nil {
			t.Errorf("%q: %d %q, %v", status, got.StatusCode, body, err)
		}
	}
}

// FuzzStored: damage is no panic, and no answer that cannot be written.
func FuzzStored(f *testing.F) {
	for i := range 400 {
		f.Add(i, byte(1<<(i%8)), 0)
	}
	f.Fuzz(func(t *testing.T, at int, flip byte, cut int) {
		damaged(t, func(data []byte) []byte {
			start := bytes.IndexByte(data, '|') + 1
			data[start+int(uint(at)%uint(len(data)-start))] ^= flip
			return data[:max(start, len(data)-int(uint(cut)%256))]
		})
	})
}

// TestSecretsAreNotStored: what a response depends on is stored with it, but not a client's
// credentials.
func TestSecretsAreNotStored(t *testing.T) {
	t.Parallel()
	b, err := memory.New(&memory.Options{Copy: true})
	ok(t, err)
	d := &damager{Proxy: driver.Proxy{Backend: b}}
	d.damage = func(data []byte) []byte {
		if bytes.Contains(data, []byte("geheim")) {
			t.Errorf("stored: %q", data)
		}
		return data
	}
	region := dogpile.NewRegion(t.Name())
	ok(t, region.Configure(d, nil))
	defer region.Close(context.Background())
	cached := httpcache.Middleware(region, nil)(answers("Cache-Control: public, max-age=60", "Vary: Cookie, Authorization, Proxy-Authorization"))
	for i, want := range []string{"1", "2", "1", "2", "3"} {
		r := httptest.NewRequest("GET", "/", nil)
		for _, name := range []string{"Cookie", "Authorization", "Proxy-Authorization"} {
			if i < 4 {
				r.Header.Set(name, "geheim"+string(rune('0'+i%2)))
			}
		}
		w := httptest.NewRecorder()
		cached.ServeHTTP(w, r)
		if w.Body.String() != want {
			t.Errorf("%d: %q, want %s", i, w.Body, want)
		}
	}
}
