package proxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

const magic = "\x00dpz"

var compressions = map[string]*proxy.CompressOptions{
	"s2":       nil,
	"zstd":     {Zstd: true},
	"s2 all":   {MinSize: -1},
	"zstd all": {Zstd: true, MinSize: -1, MaxSize: -1},
}

func TestCompressRoundTrip(t *testing.T) {
	t.Parallel()
	random := make([]byte, 100_000)
	rnd := rand.NewChaCha8([32]byte{})
	if _, err := rnd.Read(random); err != nil {
		t.Fatal(err)
	}
	for name, o := range compressions {
		b := proxy.Compress(o)(backend(t))
		for _, v := range []string{
			"", "a", strings.Repeat("a", 255), strings.Repeat("a", 256), strings.Repeat("abc", 100_000), string(random),
			`{"ct": 1795335672.9081824, "v": 2}|` + strings.Repeat(`{"name": "Ann"}, `, 1000),
			magic, magic + "s", magic + "s0000", magic + magic, magic + strings.Repeat("a", 1000), magic + string(random), magic[:3],
		} {
			handed := []byte(v)
			if err := b.Set(t.Context(), []driver.Item{{Key: "k", Data: handed}}); err != nil {
				t.Fatal(err)
			}
			if it := get(t, b, "k"); it.Data == nil || string(it.Data) != v {
				t.Errorf("%s: %.30q (%d bytes) came back as %.30q (%d bytes), %v", name, v, len(v), it.Data, len(it.Data), it.Err)
			}
			if string(handed) != v {
				t.Errorf("%s: wrote to the bytes it was handed", name)
			}
		}
	}
}

func TestCompressStoresTheSmallerForm(t *testing.T) {
	t.Parallel()
	random := make([]byte, 5000)
	rnd := rand.NewChaCha8([32]byte{1})
	if _, err := rnd.Read(random); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		o       *proxy.CompressOptions
		value   string
		smaller bool
	}{
		{"text", nil, strings.Repeat("text ", 1000), true},
		{"text with zstd", &proxy.CompressOptions{Zstd: true}, strings.Repeat("text ", 1000), true},
		{"short text", nil, strings.Repeat("text ", 51), false},
		{"short text with another MinSize", &proxy.CompressOptions{MinSize: 100}, strings.Repeat("text ", 51), true},
		{"short text without MinSize", &proxy.CompressOptions{MinSize: -1}, strings.Repeat("text ", 10), true},
		{"text over MaxSize", &proxy.CompressOptions{MaxSize: 4999}, strings.Repeat("text ", 1000), false},
		{"noise", nil, string(random), false},
	} {
		inner := backend(t)
		b := proxy.Compress(tt.o)(inner)
		if err := set(t, b, "k", tt.value); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		stored := get(t, inner, "k").Data
		if tt.smaller != (len(stored) < len(tt.value)) || tt.smaller == (string(stored) == tt.value) {
			t.Errorf("%s: %d bytes are stored as %d", tt.name, len(tt.value), len(stored))
		}
		if len(stored) < len(tt.value) && cap(stored) > len(stored)+64 {
			t.Errorf("%s: %d bytes are kept for %d", tt.name, cap(stored), len(stored))
		}
		if it := get(t, b, "k"); string(it.Data) != tt.value {
			t.Errorf("%s: came back as %d bytes, %v", tt.name, len(it.Data), it.Err)
		}
	}
}

func TestCompressReadsEitherMethodAndPlainValues(t *testing.T) {
	t.Parallel()
	inner := backend(t)
	long := strings.Repeat("value ", 100)
	if err := errors.Join(
		set(t, inner, "python", long),
		set(t, proxy.Compress(nil)(inner), "s2", long),
		set(t, proxy.Compress(&proxy.CompressOptions{Zstd: true})(inner), "zstd", long),
	); err != nil {
		t.Fatal(err)
	}
	for name, o := range compressions {
		for _, key := range []string{"python", "s2", "zstd"} {
			if it := get(t, proxy.Compress(o)(inner), key); string(it.Data) != long {
				t.Errorf("%s reads %s as %.20q, %v", name, key, it.Data, it.Err)
			}
		}
	}
}

func TestCompressDetectsDamage(t *testing.T) {
	t.Parallel()
	for name, o := range compressions {
		inner := backend(t)
		b := proxy.Compress(o)(inner)
		value := map[string][]byte{"k": []byte(strings.Repeat("some value ", 100)), "escaped": []byte(magic + "12345")}
		for key := range value {
			if err := set(t, b, key, string(value[key])); err != nil {
				t.Fatal(err)
			}
			good := get(t, inner, key).Data
			for bit := len(magic) * 8; bit < len(good)*8; bit++ {
				bad := bytes.Clone(good)
				bad[bit/8] ^= 1 << (bit % 8)
				if err := set(t, inner, "damaged", string(bad)); err != nil {
					t.Fatal(err)
				}
				// A few bits of a Zstandard frame have no say in what it decodes to.
				if it := get(t, b, "damaged"); !bytes.Equal(it.Data, value[key]) && (it.Found() || !errors.Is(it.Err, driver.ErrCorrupt)) {
					t.Errorf("%s: %s with bit %d flipped: found %.20q, Err = %v", name, key, bit, it.Data, it.Err)
				}
			}
			for n := len(magic); n < len(good); n++ {
				wantCorrupt(t, fmt.Sprintf("%s: %s cut to %d bytes", name, key, n), inner, b, good[:n])
			}
			wantCorrupt(t, name+": with a byte too many", inner, b, append(bytes.Clone(good), 0))
		}
	}
}

func wantCorrupt(t *testing.T, what string, inner, b driver.Backend, stored []byte) {
	t.Helper()
	if err := set(t, inner, "damaged", string(stored)); err != nil {
		t.Fatal(err)
	}
	if it := get(t, b, "damaged"); it.Found() || !errors.Is(it.Err, driver.ErrCorrupt) {
		t.Errorf("%s: found %.20q, Err = %v", what, it.Data, it.Err)
	}
}

func TestCompressDamageLeavesTheBatchAlone(t *testing.T) {
	t.Parallel()
	inner := backend(t)
	b := proxy.Compress(nil)(inner)
	if err := errors.Join(set(t, inner, "a", "A"), set(t, inner, "bad", magic+"x"), set(t, b, "c", strings.Repeat("C", 1000))); err != nil {
		t.Fatal(err)
	}
	items := []driver.Item{{Key: "a"}, {Key: "bad"}, {Key: "none"}, {Key: "c"}}
	if err := b.Get(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	if string(items[0].Data) != "A" || items[1].Found() || items[2].Found() || items[2].Err != nil || len(items[3].Data) != 1000 {
		t.Errorf("found %+v", items)
	}
}

func TestCompressBombs(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, 64<<20)
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bombs := map[string][]byte{
		"s2":                []byte(magic + "s0000" + string(s2.Encode(nil, zeros))),
		"s2, length only":   []byte(magic + "s0000\xff\xff\xff\xff\x0f"),
		"zstd":              w.EncodeAll(zeros, []byte(magic+"z0000")),
		"zstd, many frames": []byte(magic + "z0000" + strings.Repeat(string(w.EncodeAll(zeros[:1<<20], nil)), 64)),
	}
	zeros = nil
	inner := backend(t)
	b := proxy.Compress(&proxy.CompressOptions{MaxSize: 1 << 20})(inner)
	for name, bomb := range bombs {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		wantCorrupt(t, name, inner, b, bomb)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 {
			t.Errorf("%s: %d bytes were allocated", name, n)
		}
	}
}

func TestCompressCaps(t *testing.T) {
	t.Parallel()
	c := driver.CapsOf(proxy.Compress(nil)(backend(t)))
	if c.Objects || c.InMemory || !c.Locks || !c.Fenced || c.Name != "memory" {
		t.Errorf("Caps = %+v", c)
	}
}

// limited refuses batches with values over 1000 bytes altogether.
type limited struct{ driver.Proxy }

func (l limited) Caps() driver.Caps {
	c := l.Proxy.Caps()
	c.MaxValue = 1000
	return c
}

func TestCompressUnderMaxValue(t *testing.T) {
	t.Parallel()
	inner := backend(t)
	b := proxy.Compress(nil)(limited{driver.Proxy{Backend: inner}})
	if c := driver.CapsOf(b); c.MaxValue != 0 {
		t.Errorf("MaxValue = %d", c.MaxValue)
	}
	long := strings.Repeat("fits when compressed ", 1000)
	random := make([]byte, 1001)
	rnd := rand.NewChaCha8([32]byte{2})
	if _, err := rnd.Read(random); err != nil {
		t.Fatal(err)
	}
	items := []driver.Item{{Key: "a", Data: []byte("A")}, {Key: "random", Data: random}, {Key: "long", Data: []byte(long)}}
	if err := b.Set(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	if items[0].Err != nil || items[1].Err == nil || items[2].Err != nil {
		t.Errorf("Errs = %v, %v, %v", items[0].Err, items[1].Err, items[2].Err)
	}
	if it := get(t, b, "long"); string(it.Data) != long {
		t.Errorf("long: %d bytes, %v", len(it.Data), it.Err)
	}
	if inner.Len() != 2 {
		t.Errorf("%d entries are stored, want 2", inner.Len())
	}
}

func TestCompressManyAtOnce(t *testing.T) {
	t.Parallel()
	for name, o := range compressions {
		b := proxy.Compress(o)(backend(t))
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 50 {
					key, value := fmt.Sprint(w), strings.Repeat(fmt.Sprint(w, i), 200)
					err := set(t, b, key, value)
					if it := get(t, b, key); string(it.Data) != value || err != nil || it.Err != nil {
						t.Errorf("%s: %v, %v", name, err, it.Err)
					}
				}
			})
		}
		wg.Wait()
	}
}

func FuzzCompress(f *testing.F) {
	inner := backend(f)
	var proxies []driver.Backend
	for _, o := range []*proxy.CompressOptions{{MinSize: -1, MaxSize: 1 << 16}, {MinSize: -1, MaxSize: 1 << 16, Zstd: true}} {
		proxies = append(proxies, proxy.Compress(o)(inner))
	}
	f.Add([]byte(""))
	f.Add([]byte(magic))
	f.Add([]byte(magic + "n0000"))
	for _, b := range proxies {
		if err := set(f, b, "k", strings.Repeat("some value ", 20)); err != nil {
			f.Fatal(err)
		}
		f.Add(get(f, inner, "k").Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, b := range proxies {
			// As something found in a backend: read as it is, or known to be damaged, or unpacked.
			if err := set(t, inner, "k", string(data)); err != nil {
				t.Fatal(err)
			}
			switch it := get(t, b, "k"); {
			case it.Err != nil:
				if it.Data != nil || !errors.Is(it.Err, driver.ErrCorrupt) {
					t.Errorf("Data = %q, Err = %v", it.Data, it.Err)
				}
			case it.Data == nil:
				t.Error("neither value nor error")
			case !bytes.HasPrefix(data, []byte(magic)) && !bytes.Equal(it.Data, data):
				t.Errorf("%q was read as %q", data, it.Data)
			case len(it.Data) > 1<<16 && len(it.Data) > len(data):
				t.Errorf("%d bytes became %d, over MaxSize", len(data), len(it.Data))
			}
			// As a value: it comes back.
			if err := set(t, b, "k", string(data)); err != nil {
				t.Fatal(err)
			}
			if it := get(t, b, "k"); it.Err != nil || it.Data == nil || !bytes.Equal(it.Data, data) {
				t.Errorf("%q came back as %q, %v", data, it.Data, it.Err)
			}
		}
	})
}

func BenchmarkCompress(b *testing.B) {
	value := []byte(strings.Repeat(`{"id": 12345, "name": "Ann", "tags": ["a", "b"]}, `, 80))
	for name, o := range map[string]*proxy.CompressOptions{"s2": nil, "zstd": {Zstd: true}} {
		be := proxy.Compress(o)(backend(b))
		items := []driver.Item{{Key: "k", Data: value}}
		b.Run(name+"/set", func(b *testing.B) {
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				if err := be.Set(b.Context(), items); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/get", func(b *testing.B) {
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				got := []driver.Item{{Key: "k"}}
				if err := be.Get(b.Context(), got); err != nil || len(got[0].Data) != len(value) {
					b.Fatal(err)
				}
			}
		})
	}
}
