package lock_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/lock"
)

// TestCreatorsThatWaitForEachOther get ErrRecursive at once, whatever their time.
func TestCreatorsThatWaitForEachOther(t *testing.T) {
	mutexes := func(n int) []lock.Mutex {
		ms := make([]lock.Mutex, n)
		for i := range ms {
			ms[i] = newMutex(new(site))
		}
		return ms
	}
	for _, row := range []struct {
		name    string
		locks   int
		mutexes []lock.Mutex // of the locks; none: they have none
		again   bool         // creators ask other locks with the same mutexes
	}{
		{"two", 2, nil, false},
		{"three", 3, nil, false},
		{"two with mutexes", 2, mutexes(2), false},
		{"other locks with their mutexes", 2, mutexes(2), true},
		{"another lock with its own mutex", 1, mutexes(1), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				read := func(context.Context) (string, time.Time, error) { return "", time.Time{}, nil }
				locks, asked := make([]*lock.Lock[string], row.locks), make([]*lock.Lock[string], row.locks)
				var all sync.WaitGroup
				for i := range locks {
					all.Add(1)
					locks[i] = &lock.Lock[string]{Read: read, Timeout: lock.Never}
					asked[i] = locks[i]
					if row.again {
						asked[i] = &lock.Lock[string]{Read: read, Timeout: lock.Never}
						asked[i].Create = func(context.Context) (string, error) { return "another", nil }
					}
					if len(row.mutexes) > 0 {
						locks[i].Mutex, asked[i].Mutex = row.mutexes[i], row.mutexes[i]
					}
					locks[i].Create = func(ctx context.Context) (string, error) {
						all.Done()
						all.Wait()
						return asked[(i+1)%len(asked)].Do(ctx)
					}
				}
				began, told := time.Now(), 0
				errs := make(chan error)
				for _, l := range locks {
					go func() {
						_, err := l.Do(t.Context())
						errs <- err
					}()
				}
				for range locks {
					err := <-errs
					if errors.Is(err, lock.ErrRecursive) {
						told++
					} else if err != nil {
						t.Error(err)
					}
				}
				if took := time.Since(began); told == 0 || took > 0 {
					t.Errorf("%d were told after %v", told, took)
				}
			})
		})
	}
}
