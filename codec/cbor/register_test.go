package cbor_test

import (
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

// TestCodecInSettings: to import the package is enough for settings to know it.
func TestCodecInSettings(t *testing.T) {
	t.Parallel()
	b, err := memory.New(&memory.Options{Copy: true})
	if err != nil {
		t.Fatal(err)
	}
	r := dogpile.NewRegion("r")
	if err := (dogpile.Setup{Settings: map[string]string{"r.backend": "@b", "r.codec": "cbor"}, Backends: map[string]driver.Backend{"b": b}}).Configure(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	c := dogpile.NewCache[[]byte](r, nil)
	if err := c.Set(t.Context(), "k", []byte{0xff, 0}); err != nil {
		t.Fatal(err)
	}
	items := []driver.Item{{Key: "r:k"}}
	if err := b.Get(t.Context(), items); err != nil || string(items[0].Data[len(items[0].Data)-3:]) != "\x42\xff\x00" {
		t.Errorf("stored is %q, %v", items[0].Data, err)
	}
}
