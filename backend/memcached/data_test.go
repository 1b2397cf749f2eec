package memcached_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/memcache"
)

func TestKeysThatMemcachedCannotHave(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*memcached.Options{"meta": nil, "python_lock": {PythonLock: true}} {
		b, n := through(t, sharedServer(t), o)
		raw, ctx := sharedServer(t).dial(t), t.Context()
		evil := unique(t)
		for _, key := range []string{
			"", " ", "a b", "a\tb", "a\x00", "a\x7fb", "\n", "\r\n", strings.Repeat("l", 246), strings.Repeat("l", 251),
			"k\r\nms " + evil + " 1\r\nx\r\nmg k", "k 0 0 1\r\nx\r\nms " + evil + " 1\r\nx\r\n",
		} {
			before := n.Trips.Load()
			l, lockErr := b.TryLock(ctx, key, time.Minute)
			_, lockedErr := b.Locked(ctx, key)
			for call, err := range map[string]error{
				"Get": b.Get(ctx, []driver.Item{{Key: key}}), "Set": b.Set(ctx, []driver.Item{{Key: key, Data: []byte("v")}}),
				"Delete": b.Delete(ctx, []string{key}), "TryLock": lockErr, "Locked": lockedErr, "Wait": b.Wait(ctx, key),
			} {
				if !errors.Is(err, memcache.ErrKey) || l != nil {
					t.Errorf("%s: %s of %.60q = %v", name, call, key, err)
				}
			}
			if got := n.Trips.Load() - before; got != 0 {
				t.Errorf("%s: %.60q: something was sent", name, key)
			}
			good := unique(t)
			items := []driver.Item{{Key: good, Data: []byte("v")}, {Key: key, Data: []byte("v")}, {Key: good + "2", Data: []byte("v")}}
			if err := b.Set(ctx, items); err != nil || items[0].Err != nil || items[2].Err != nil || !errors.Is(items[1].Err, memcache.ErrKey) {
				t.Errorf("%s: Set of %.60q among others = %v, %v", name, key, err, items)
			}
			wantValue(t, b, good+"2", "v")
			if err := b.Delete(ctx, []string{good, key, good + "2"}); !errors.Is(err, memcache.ErrKey) {
				t.Errorf("%s: Delete of %.60q among others = %v", name, key, err)
			}
			wantValue(t, b, good, "(none)")
			wantValue(t, b, good+"2", "(none)")
		}
		if raw.has(evil) {
			t.Errorf("%s: a key became a command", name)
		}
	}
}

func TestRegionTakesAnyKey(t *testing.T) {
	t.Parallel()
	cache := dogpile.NewCache[string](configured(t, "any region\n", open(t, "memcached://"+sharedServer(t).Addr(), nil), nil), nil)
	keys := []string{"", "a b", "a\r\nb", "\x00", "ключ", strings.Repeat("l", 300), strings.Repeat("l", 299) + "m", "a\tb"}
	for _, key := range keys {
		v, err := cache.GetOrCreate(t.Context(), key, func(context.Context) (string, error) { return "v" + key, nil })
		if v != "v"+key || err != nil {
			t.Errorf("GetOrCreate(%.20q) = %.20q, %v", key, v, err)
		}
	}
	got, err := cache.GetMulti(t.Context(), keys)
	ok(t, err)
	for _, key := range keys {
		if got[key] != "v"+key {
			t.Errorf("%.20q is %.20q", key, got[key])
		}
	}
	ok(t, cache.Delete(t.Context(), keys...))
}

func TestMangle(t *testing.T) {
	t.Parallel()
	b, err := memcached.New([]string{"127.0.0.1"}, nil)
	ok(t, err)
	defer b.Close()
	caps := b.Caps()
	if caps.MaxKeyLen != 245 {
		t.Errorf("MaxKeyLen %d, with the lease's prefix that makes %d", caps.MaxKeyLen, caps.MaxKeyLen+5)
	}
	for _, key := range []string{"a", "users:42", "ключ", "\xff", "_lockx", strings.Repeat("l", 245), "sha256", "Sha256:"} {
		if got := caps.Mangle(key); got != key {
			t.Errorf("Mangle(%.20q) = %.80q", key, got)
		}
	}
	seen := map[string]string{}
	mangled := []string{"", " ", "a b", "a\n", "a\x7f", "\x00", strings.Repeat("l", 246), strings.Repeat("l", 5000), "sha256:"}
	for range 3 { // a name made of a key is a key too, and gets another name
		for _, key := range mangled {
			name := caps.Mangle(key)
			if len(name) > 100 || !strings.HasPrefix(name, "sha256:") || strings.ContainsAny(name, " \n\x00\x7f") {
				t.Errorf("Mangle(%.20q) = %q", key, name)
			}
			if other, taken := seen[name]; taken && other != key {
				t.Errorf("%.20q and %.20q are both %q", key, other, name)
			}
			seen[name] = key
			mangled = append(mangled, name)
		}
	}
	longer, err := memcached.New([]string{"127.0.0.1"}, &memcached.Options{LockPrefix: "a.longer.prefix:"})
	ok(t, err)
	defer longer.Close()
	if n := longer.Caps().MaxKeyLen; n != 250-16 {
		t.Errorf("with a prefix of 16 bytes, MaxKeyLen is %d", n)
	}
}

func TestLongestKeys(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*memcached.Options{"meta": nil, "python_lock": {PythonLock: true}, "binary": {Protocol: "binary"}} {
		b := open(t, "memcached://"+sharedServer(t).Addr(), o)
		key := unique(t)
		key += strings.Repeat("l", b.Caps().MaxKeyLen-len(key))
		l := hold(t, b, key, time.Minute)
		ok(t, l.Extend(t.Context(), time.Minute))
		ok(t, try(t.Context(), b, driver.Item{Key: key, Data: []byte(name), Lease: l}))
		wantValue(t, b, key, name)
	}
}

func TestValueOverTheServersItemSize(t *testing.T) {
	t.Parallel()
	s := startServer(t, "-I", "1m")
	big := bytes.Repeat([]byte("x"), 1<<20)
	for name, o := range map[string]*memcached.Options{
		"meta": {}, "python_lock": {PythonLock: true}, "binary": {Protocol: "binary"}, "MaxValue": {MaxValue: 1<<20 - 1},
	} {
		b, ctx := open(t, "memcached://"+s.Addr(), o), t.Context()
		key := unique(t)
		items := []driver.Item{
			{Key: key + "a", Data: []byte("a")}, {Key: key + "big", Data: big}, {Key: key + "b", Data: []byte("b")},
			{Key: key + "c", Data: big, Lease: hold(t, b, key+"c", time.Minute)},
		}
		if err := b.Set(ctx, items); err != nil || items[0].Err != nil || items[2].Err != nil {
			t.Errorf("%s: Set = %v, %v, %v", name, err, items[0].Err, items[2].Err)
		}
		for _, i := range []int{1, 3} {
			if !errors.Is(items[i].Err, memcache.ErrTooLarge) {
				t.Errorf("%s: the item that is too large has %v", name, items[i].Err)
			}
		}
		wantValue(t, b, key+"a", "a")
		wantValue(t, b, key+"b", "b")
		wantValue(t, b, key+"big", "(none)")
		wantValue(t, b, key+"c", "(none)")
		ok(t, items[3].Lease.Release(ctx))
		hold(t, b, key+"c", time.Minute)

		var failed error
		cache := dogpile.NewCache[string](configured(t, key, b, &dogpile.Options{
			Hooks: &dogpile.Hooks{Error: func(_ context.Context, e dogpile.Event) { failed = e.Err }},
		}), nil)
		for range 2 {
			v, err := cache.GetOrCreate(ctx, "big", func(context.Context) (string, error) { return string(big), nil })
			if v != string(big) || err != nil {
				t.Errorf("%s: GetOrCreate = %d bytes, %v", name, len(v), err)
			}
		}
		if failed == nil {
			t.Errorf("%s: nobody was told", name)
		}
	}
}

func deflated(data []byte) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.String()
}

func TestFlags(t *testing.T) {
	t.Parallel()
	b, raw := open(t, "memcached://"+sharedServer(t).Addr(), nil), sharedServer(t).dial(t)
	long := bytes.Repeat([]byte("value "), 1000)
	for name, tt := range map[string]struct {
		flags  uint32
		stored string
		want   string // "(none)", or "(corrupt)"
	}{
		"bytes":              {flags: 0, stored: "value", want: "value"},
		"placeholder":        {flags: 0, stored: "", want: "(none)"},
		"zlib":               {flags: 8, stored: deflated(long), want: string(long)},
		"zlib of nothing":    {flags: 8, stored: deflated(nil), want: ""},
		"zlib cut short":     {flags: 8, stored: deflated(long)[:20], want: "(corrupt)"},
		"no zlib":            {flags: 8, stored: "value", want: "(corrupt)"},
		"zlib of very much":  {flags: 8, stored: deflated(make([]byte, 65<<20)), want: "(corrupt)"},
		"pickle":             {flags: 1, stored: "\x80\x04N.", want: "(corrupt)"},
		"compressed pickle":  {flags: 9, stored: deflated([]byte("\x80\x04N.")), want: "(corrupt)"},
		"number":             {flags: 2, stored: "1", want: "(corrupt)"},
		"long number":        {flags: 4, stored: "1", want: "(corrupt)"},
		"text":               {flags: 16, stored: "value", want: "(corrupt)"},
		"of another program": {flags: 1 << 31, stored: "value", want: "(corrupt)"},
	} {
		key := unique(t)
		raw.do(fmt.Sprintf("ms %s %d F%d", key, len(tt.stored), tt.flags), tt.stored)
		l := hold(t, b, key, time.Minute)
		for _, lease := range []driver.Lease{nil, l} {
			items := []driver.Item{{Key: key, Lease: lease}}
			ok(t, b.Get(t.Context(), items))
			got := "(none)"
			switch it := items[0]; {
			case errors.Is(it.Err, driver.ErrCorrupt) && !it.Found():
				got = "(corrupt)"
			case it.Err != nil:
				t.Error(it.Err)
			case it.Found():
				got = string(it.Data)
			}
			if got != tt.want {
				t.Errorf("%s: %.60q, want %.60q", name, got, tt.want)
			}
		}
		ok(t, l.Release(t.Context()))
		for _, data := range []string{"new", ""} {
			ok(t, try(t.Context(), b, driver.Item{Key: key, Data: []byte(data)}))
			wantValue(t, b, key, data)
		}
		ok(t, try(t.Context(), b, driver.Item{Key: key, Data: []byte("new")}))
		if got := raw.do("mg " + key + " f v"); got[0] != "VA 3 f0" {
			t.Errorf("stored as %q", got)
		}
	}
}

func TestTTLIsInSeconds(t *testing.T) {
	t.Parallel()
	b, raw := open(t, "memcached://"+sharedServer(t).Addr(), nil), sharedServer(t).dial(t)
	const day = 24 * time.Hour
	for _, tt := range []struct {
		ttl      time.Duration
		min, max int // what the server says; some time may have passed
	}{
		{0, -1, -1},
		{time.Hour, 3590, 3602},
		{time.Hour + 1, 3590, 3603},
		{30*day - 2*time.Second, 2592000 - 10, 2592000},
		{30 * day, 2592000 - 10, 2592000 + 3},
		{31 * day, 2678400 - 10, 2678400 + 3},
		{365 * day, 31536000 - 10, 31536000 + 3},
		{100 * 365 * day, -1, -1},
		{math.MaxInt64, -1, -1},
	} {
		key := unique(t)
		ok(t, try(t.Context(), b, driver.Item{Key: key, Data: []byte("v"), TTL: tt.ttl}))
		var left int
		if got := raw.one("mg " + key + " t"); got == "EN" {
			t.Errorf("what was to be kept for %v is not there", tt.ttl)
		} else if _, err := fmt.Sscanf(got, "HD t%d", &left); err != nil || left < tt.min || left > tt.max {
			t.Errorf("a TTL of %v became %q", tt.ttl, got)
		}
	}
}
