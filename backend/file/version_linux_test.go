package file_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// otherRole is a process of another version of the package: it stores "its" under a key, and
// tells what is there each time it is asked, until its input ends.
func otherRole(path string, args []string) error {
	version, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	file.SetVersion(version)
	ctx := context.Background()
	b, err := file.Open(ctx, path, &file.Options{Timeout: slow, Reset: true})
	if err != nil {
		return err
	}
	if err := b.Set(ctx, []driver.Item{{Key: "k", Data: []byte("its")}}); err != nil {
		return err
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		items := []driver.Item{{Key: "k"}}
		err := b.Get(ctx, items)
		fmt.Printf("%s %v\n", items[0].Data, err)
	}
	return b.Close()
}

// TestTwoVersionsDoNotEmptyEachOthersFile: 1. Three Backends use a file.  2. Another version of
// the package opens it, and is given an empty one.  3. They are refused it, for as long as it is
// used.  4. Once it is not, they share a new one.
func TestTwoVersionsDoNotEmptyEachOthersFile(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]string{"a newer one": "3", "an older one": "1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := place(t)
			var all []*file.Backend
			for range 3 {
				b := open(t, path, &file.Options{Reset: true})
				set(t, b, "k", "mine")
				all = append(all, b)
			}
			r := backendtest.Region(t, "r", all[0], nil)
			cache := dogpile.NewCache[string](r, nil)
			ok(t, cache.Set(t.Context(), "k", "old"))
			c := launch(t, nil, "other", path, version)
			c.says("ready")
			for range 3 {
				for _, b := range all {
					_, err := tryGet(t, b, "k")
					if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "it has version "+version+", and this program needs 2") {
						t.Fatalf("Get where the file is of version %s = %v", version, err)
					}
				}
				fmt.Fprintln(c.in, "get")
				c.says("its <nil>")
			}
			v, err := cache.GetOrCreate(t.Context(), "k", func(context.Context) (string, error) { return "made", nil })
			if n := r.Stats().Errors; v != "made" || err != nil || n == 0 {
				t.Errorf("a region makes %q without the file, %v, and counts %d errors", v, err, n)
			}
			ok(t, c.in.Close())
			backendtest.Eventually(t, "a file of their own", func() bool {
				return trySet(t, all[1], driver.Item{Key: "k", Data: []byte("new")}) == nil
			})
			for _, b := range all {
				backendtest.Eventually(t, "the file of another", func() bool {
					_, err := tryGet(t, b, "k")
					return err == nil
				})
				want(t, b, "k", "new")
			}
		})
	}
}
