package file_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

var all = []string{"", "-wal", "-shm", "-lock"}

func remove(t testing.TB, path string, suffixes ...string) {
	t.Helper()
	for _, suffix := range suffixes {
		ok(t, os.Remove(path+suffix))
	}
}

func TestRemovedFilesAreMadeAnew(t *testing.T) {
	t.Parallel()
	for name, removed := range map[string]func(t *testing.T, path string){
		"all":           func(t *testing.T, path string) { remove(t, path, all...) },
		"the file":      func(t *testing.T, path string) { remove(t, path, "") },
		"file and lock": func(t *testing.T, path string) { remove(t, path, "", "-lock") },
		"replaced": func(t *testing.T, path string) {
			ok(t, os.WriteFile(path+".new", nil, 0o600))
			ok(t, os.Rename(path+".new", path))
		},
		"emptied": func(t *testing.T, path string) { ok(t, os.Truncate(path, 0)) },
		"all emptied but the shared memory": func(t *testing.T, path string) {
			ok(t, os.Truncate(path, 0))
			ok(t, os.Truncate(path+"-wal", 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// 1. Two Backends use a file.  2. Somebody removes it.  3. A third one opens
			// what is there.  4. All three see the same, and nothing of before.
			path := place(t)
			a, b, idle := open(t, path, nil), open(t, path, nil), open(t, path, nil)
			for i := range 100 {
				set(t, a, fmt.Sprint("k", i), noise(3000, uint64(i)))
			}
			want(t, b, "k1", noise(3000, 1))
			lost := hold(t, a, "leased", slow)
			removed(t, path)
			c := open(t, path, nil)
			want(t, c, "k1", "")
			set(t, c, "k2", "new")
			for _, x := range []*file.Backend{a, b, c} {
				want(t, x, "k1", "")
				want(t, x, "k2", "new")
			}
			if err := lost.Extend(t.Context(), slow); err != driver.ErrLeaseLost {
				t.Errorf("Extend of a lease that was in the file = %v", err)
			}
			if err := trySet(t, a, driver.Item{Key: "leased", Data: []byte("v"), Lease: lost}); !errors.Is(err, driver.ErrLeaseLost) {
				t.Errorf("Set under it = %v", err)
			}
			hold(t, b, "leased", slow)
			set(t, b, "k3", "b's")
			ok(t, a.Delete(t.Context(), []string{"k2"}))
			for _, x := range []*file.Backend{a, b, c} {
				want(t, x, "k2", "")
				want(t, x, "k3", "b's")
				if l, err := x.TryLock(t.Context(), "leased", slow); l != nil || err != nil {
					t.Errorf("TryLock of what is held = %v, %v", l, err)
				}
			}
			// None takes the log of the others with it, also one that was not used since.
			ok(t, idle.Close())
			want(t, open(t, path, nil), "k3", "b's")
			ok(t, a.Close())
			ok(t, b.Close())
			want(t, c, "k3", "b's")
			want(t, open(t, path, nil), "k3", "b's")
		})
	}
}

func TestRemovedDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/sub"
	ok(t, os.Mkdir(dir, 0o700))
	b := open(t, dir+"/app.db", nil)
	set(t, b, "k", "v")
	ok(t, os.RemoveAll(dir))
	for range 3 {
		if _, err := tryGet(t, b, "k"); err == nil || !strings.Contains(err.Error(), "no such file or directory") {
			t.Errorf("Get = %v", err)
		}
	}
	ok(t, os.Mkdir(dir, 0o700))
	want(t, b, "k", "")
	set(t, b, "k", "new")
	want(t, b, "k", "new")
}

func TestLeasesOutliveTheLockFile(t *testing.T) {
	t.Parallel()
	// 1. A holds a lease.  2. Somebody tidies up and removes the lock file.  3. B
	// comes and makes another. It cannot tell whether A is alive, and waits.
	path := place(t)
	a := open(t, path, nil)
	l := hold(t, a, "k", slow)
	remove(t, path, "-lock")
	b := open(t, path, nil)
	if got, err := b.TryLock(t.Context(), "k", slow); got != nil || err != nil {
		t.Errorf("B's TryLock = %v, %v", got, err)
	}
	ok(t, l.Release(t.Context()))
	hold(t, b, "k", slow)
	if got, err := a.TryLock(t.Context(), "k", slow); got != nil || err != nil {
		t.Errorf("A's TryLock = %v, %v", got, err)
	}
}

func TestFilesDamagedWhileTheyAreOpen(t *testing.T) {
	t.Parallel()
	const n = 100
	for name, damage := range map[string]func(t *testing.T, path string){
		"truncated to a half": func(t *testing.T, path string) { ok(t, os.Truncate(path, size(t, path)/2)) },
		"truncated to a page": func(t *testing.T, path string) { ok(t, os.Truncate(path, 4096)) },
		"overwritten": func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			ok(t, err)
			_, err = f.WriteAt([]byte(noise(int(size(t, path)), 99)), 0)
			ok(t, errors.Join(err, f.Close()))
		},
		"no shared memory":      func(t *testing.T, path string) { ok(t, os.Truncate(path+"-shm", 0)) },
		"nothing but the names": func(t *testing.T, path string) { ok(t, os.Truncate(path+"-shm", 0)); ok(t, os.Truncate(path, 1)) },
	} {
		for _, reset := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/reset=%v", name, reset), func(t *testing.T) {
				t.Parallel()
				path := filled(t, n)
				b := open(t, path, &file.Options{Reset: reset})
				other := open(t, path, &file.Options{Reset: reset})
				set(t, other, "new", "v")
				damage(t, path)
				for range 3 {
					// What is cached may be found, errors are welcome, and nothing else.
					_, err := holds(t, b, n)
					t.Log(firstLine(err))
					_ = trySet(t, b, driver.Item{Key: "x", Data: []byte("x")})
					_, err = holds(t, other, n)
					t.Log(firstLine(err))
				}
				if !reset {
					remove(t, path, "")
				}
				for i := range n {
					data := []byte(noise(3000, uint64(i)))
					eventually(t, "a Set to succeed", func() bool {
						return trySet(t, b, driver.Item{Key: fmt.Sprint("k", i), Data: data}) == nil
					})
				}
				for _, x := range []*file.Backend{b, other, open(t, path, nil)} {
					if found, err := holds(t, x, n); !reset && found != n || found == 0 || err != nil {
						t.Errorf("%d of %d are there, %v", found, n, err)
					}
				}
			})
		}
	}
}

func firstLine(err error) string {
	if err == nil {
		return "no error"
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
