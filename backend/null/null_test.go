package null_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/null"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
)

func TestContract(t *testing.T) {
	drivertest.Run(t, func(*testing.T) driver.Backend { return null.New() }, nil)
}

func TestCaps(t *testing.T) {
	t.Parallel()
	if c := driver.CapsOf(null.New()); c.Name != "null" || !c.Discards || !c.Objects || !c.Locks || c.Shared {
		t.Errorf("Caps = %+v", c)
	}
}

func TestLeaseExcludesNobody(t *testing.T) {
	t.Parallel()
	var b null.Backend
	for range 3 {
		l, err := b.TryLock(t.Context(), "k", time.Minute)
		if l == nil || err != nil {
			t.Fatalf("TryLock = %v, %v", l, err)
		}
		if err := l.Extend(t.Context(), time.Minute); err != nil {
			t.Errorf("Extend = %v", err)
		}
		defer l.Release(t.Context())
	}
	if locked, err := b.Locked(t.Context(), "k"); locked || err != nil {
		t.Errorf("Locked = %v, %v", locked, err)
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for url, fault := range map[string]string{
		"null": "", "null://": "", "null://host": "host", "null://?size=1": "size",
	} {
		b, err := driver.Open(t.Context(), url)
		if fault == "" {
			if _, ok := b.(*null.Backend); !ok || err != nil {
				t.Errorf("%s: %T, %v", url, b, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: %v, want an error about %q", url, err, fault)
		}
	}
}

func Example() {
	b := null.New()
	items := []driver.Item{{Key: "user:42", Object: "Ann"}}
	fmt.Println(b.Set(context.Background(), items))
	items = []driver.Item{{Key: "user:42"}}
	fmt.Println(b.Get(context.Background(), items), items[0].Found())
	// Output:
	// <nil>
	// <nil> false
}
