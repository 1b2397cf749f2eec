package lock_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/lock"
)

// rates are values that are kept as the application likes: here in a map under a
// mutex, with a Lock for each.
type rates struct {
	mu    sync.Mutex
	rates map[string]rate
	locks map[string]*lock.Lock[float64]
}

type rate struct {
	value float64
	made  time.Time
}

func (r *rates) read(currency string) (float64, time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.rates[currency] // the zero time when there is none
	return e.value, e.made, nil
}

func (r *rates) store(currency string, v float64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rates[currency] = rate{v, time.Now()}
	return true
}

func (r *rates) lock(currency string) *lock.Lock[float64] {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.locks[currency]
	if l == nil {
		l = &lock.Lock[float64]{
			Expiration: time.Hour,
			Read:       func(context.Context) (float64, time.Time, error) { return r.read(currency) },
			Create: func(context.Context) (float64, error) {
				fmt.Println("asking for", currency)
				return 1.25, nil
			},
			Store: func(_ context.Context, v float64) bool { return r.store(currency, v) },
		}
		r.locks[currency] = l
	}
	return l
}

// Values in a map, and a Lock for each. However many ask at once, one creates.
func ExampleLock() {
	r := &rates{rates: make(map[string]rate), locks: make(map[string]*lock.Lock[float64])}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if v, err := r.lock("EUR").Do(context.Background()); v != 1.25 || err != nil {
				fmt.Println(v, err)
			}
		})
	}
	wg.Wait()
	fmt.Println(r.lock("EUR").Do(context.Background()))
	// Output:
	// asking for EUR
	// 1.25 <nil>
}

// A Runner creates in the background: the caller that finds the value stale gets it
// at once.
func ExampleLock_runner() {
	var (
		mu         sync.Mutex
		value      = "old"
		made       = time.Now().Add(-time.Hour)
		background sync.WaitGroup
	)
	l := lock.Lock[string]{
		Expiration: time.Minute,
		Runner:     background.Go,
		Read: func(context.Context) (string, time.Time, error) {
			mu.Lock()
			defer mu.Unlock()
			return value, made, nil
		},
		Create: func(context.Context) (string, error) { return "new", nil },
		Store: func(_ context.Context, v string) bool {
			mu.Lock()
			defer mu.Unlock()
			value, made = v, time.Now()
			return true
		},
	}
	fmt.Println(l.Do(context.Background()))
	background.Wait()
	fmt.Println(l.Do(context.Background()))
	// Output:
	// old <nil>
	// new <nil>
}
