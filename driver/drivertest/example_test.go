package drivertest_test

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
)

func TestTiny(t *testing.T) {
	drivertest.Run(t, func(*testing.T) driver.Backend { return New() }, &drivertest.Options{Bubble: true})
}

// read returns a file with its package renamed to tiny.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(text), "package drivertest_test\n", "package tiny\n", 1)
}

func TestDocsShowTheExampleBackend(t *testing.T) {
	t.Parallel()
	docs := read(t, "../../docs/writing-a-backend.md")
	if block := "```go\n" + read(t, "example_backend_test.go") + "```\n"; !strings.Contains(docs, block) {
		t.Error("docs/writing-a-backend.md does not show example_backend_test.go as it is")
	}
}

func TestDocsShowTheExampleProxy(t *testing.T) {
	t.Parallel()
	docs := read(t, "../../docs/writing-a-backend.md")
	_, proxy, _ := strings.Cut(read(t, "example_proxy_test.go"), ")\n\n")
	proxy, _, _ = strings.Cut(proxy, "\nfunc init()")
	if block := "```go\n" + proxy + "```\n"; !strings.Contains(docs, block) {
		t.Error("docs/writing-a-backend.md does not show example_proxy_test.go as it is")
	}
}

func TestDocsNameEveryCapability(t *testing.T) {
	t.Parallel()
	docs := read(t, "../../docs/writing-a-backend.md")
	caps := reflect.TypeFor[driver.Caps]()
	for i := range caps.NumField() {
		if name := caps.Field(i).Name; !strings.Contains(docs, "| `"+name+"` |") {
			t.Errorf("docs/writing-a-backend.md says nothing of Caps.%s", name)
		}
	}
}

func TestCounter(t *testing.T) {
	drivertest.RunProxy(t, func(b driver.Backend) driver.Backend { return Counting(b) }, nil)
}

func BenchmarkTiny(b *testing.B) {
	drivertest.Bench(b, func(*testing.B) driver.Backend { return New() })
}

func Example_backend() {
	ctx := context.Background()
	b, err := driver.Open(ctx, "tiny://")
	if err != nil {
		fmt.Println(err)
		return
	}
	err = b.Set(ctx, []driver.Item{{Key: "user:42", Data: []byte("Ann"), TTL: time.Hour}})
	items := []driver.Item{{Key: "user:42"}, {Key: "user:43"}}
	fmt.Println(err, b.Get(ctx, items))
	fmt.Printf("%s %v\n", items[0].Data, items[1].Found())

	_, err = driver.Open(ctx, "tiny://?size=7")
	fmt.Println(err)
	// Output:
	// <nil> <nil>
	// Ann false
	// dogpile: open tiny://: argument "size" is unknown
}

func Example_proxy() {
	ctx := context.Background()
	counter := Counting(New())
	_ = counter.Get(ctx, []driver.Item{{Key: "a"}, {Key: "b"}})
	_ = counter.Get(ctx, []driver.Item{{Key: "c"}})
	fmt.Println(counter.gets.Load())
	// Output:
	// 3
}
