package file_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// TestReloadsLeaveTheFilesOfOne: twenty reloads under load leave no more open
// files than a few configurations have at once, and no goroutine, and no call fails. It is not parallel: it counts
// goroutines.
func TestReloadsLeaveTheFilesOfOne(t *testing.T) {
	for _, backend := range []string{"file", "@main"} {
		t.Run(backend, func(t *testing.T) {
			path := place(t)
			goroutines := runtime.NumGoroutine()
			settings := map[string]string{
				"backends.main": "file", "backends.main.arguments.path": path,
				"r.backend": backend, "r.replace_existing_backend": "true",
			}
			if backend == "file" {
				settings["r.arguments.path"] = path
			}
			r := dogpile.NewRegion("r")
			configure := func() { t.Helper(); ok(t, dogpile.ConfigureAll(t.Context(), settings, "", r)) }
			configure()
			c := dogpile.NewCache[string](r, nil)
			call := func(n int) {
				key := fmt.Sprint("k", n%50)
				if n%10 == 0 {
					if err := c.Delete(t.Context(), key); err != nil {
						t.Errorf("Delete = %v", err)
					}
				}
				v, err := c.GetOrCreate(t.Context(), key, func(context.Context) (string, error) { return "v", nil })
				if v != "v" || err != nil {
					t.Errorf("GetOrCreate = %q, %v", v, err)
				}
			}
			load := func(until func() bool) {
				var all sync.WaitGroup
				for range 8 {
					all.Go(func() {
						for n := 0; !until(); n++ {
							call(n)
						}
					})
				}
				all.Wait()
			}
			begin := time.Now()
			load(func() bool { return time.Since(begin) > 200*time.Millisecond })
			one := openFiles(t, path)
			stop := make(chan struct{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				load(func() bool {
					select {
					case <-stop:
						return true
					default:
						return false
					}
				})
			}()
			for range 20 {
				configure()
				backendtest.Pause(10 * time.Millisecond) // some load for each
			}
			close(stop)
			<-done
			// SQLite keeps descriptors of connections that were closed for later ones, as
			// to close one would end the locks of all others in the process. So there are as
			// many as there were at once, which is a few configurations, of twenty.
			backendtest.Eventually(t, "the files of earlier configurations to be closed", func() bool { return openFiles(t, path) <= 6*one })
			if st := r.Stats(); st.Errors > 0 {
				t.Errorf("%d errors", st.Errors)
			}
			ok(t, r.Close(t.Context()))
			if n := openFiles(t, path); n != 0 || one == 0 {
				t.Errorf("%d files are open after Close, %d were before", n, one)
			}
			backendtest.Eventually(t, "all goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
		})
	}
}
