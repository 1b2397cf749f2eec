package lock_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/lock"
)

// rates is a table of values that is kept as the application likes: here in a
// map under a mutex.
type rates struct {
	mu      sync.Mutex
	vals    map[string]rate
	flights lock.Flights
}

type rate struct {
	value float64
	made  time.Time
}

func (r *rates) read(_ context.Context, currency string) (float64, time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.vals[currency] // the zero time when there is none
	return e.value, e.made, nil
}

func (r *rates) store(currency string, v float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.vals[currency] = rate{v, time.Now()}
}

func (r *rates) get(ctx context.Context, currency string) (float64, error) {
	l := lock.Lock[float64]{
		Key:        currency,
		Flights:    &r.flights,
		Expiration: time.Hour,
		Read:       func(ctx context.Context) (float64, time.Time, error) { return r.read(ctx, currency) },
		Create: func(context.Context) (float64, error) {
			fmt.Println("asking for", currency)
			return 1.25, nil
		},
		Store: func(_ context.Context, v float64) bool {
			r.store(currency, v)
			return true
		},
	}
	return l.Do(ctx)
}

// Values in a map. However many ask at once, one creates.
func ExampleLock() {
	r := &rates{vals: make(map[string]rate)}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if v, err := r.get(context.Background(), "EUR"); v != 1.25 || err != nil {
				fmt.Println(v, err)
			}
		})
	}
	wg.Wait()
	fmt.Println(r.get(context.Background(), "EUR"))
	// Output:
	// asking for EUR
	// 1.25 <nil>
}

// A Runner creates in the background: even the one who finds a value stale gets
// it at once.
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

// Several values with one creation for all that are missing.
func ExampleMany() {
	r := &rates{vals: map[string]rate{"EUR": {1.25, time.Now()}}}
	currencies := []string{"CHF", "EUR", "JPY"}

	names := func(at []int) (out []string) {
		for _, i := range at {
			out = append(out, currencies[i])
		}
		return out
	}
	m := lock.Many[float64]{
		Read: func(ctx context.Context, at []int) (vals []float64, made []time.Time, err error) {
			for _, currency := range names(at) {
				v, t, _ := r.read(ctx, currency)
				vals, made = append(vals, v), append(made, t)
			}
			return vals, made, nil
		},
		Create: func(_ context.Context, at []int) (vals []float64, made []bool, err error) {
			fmt.Println("asking for", strings.Join(names(at), " and "))
			for _, i := range at {
				vals, made = append(vals, float64(i)+0.5), append(made, true)
			}
			return vals, made, nil
		},
		Store: func(_ context.Context, at []int, vals []float64) (held []bool) {
			for n, currency := range names(at) {
				r.store(currency, vals[n])
				held = append(held, true)
			}
			return held
		},
	}
	all := make([]int, len(currencies))
	for i, currency := range currencies {
		all[i] = i
		m.Locks = append(m.Locks, &lock.Lock[float64]{Key: currency, Flights: &r.flights, Expiration: time.Hour})
	}

	ctx := context.Background()
	vals, made, _ := m.Read(ctx, all)
	vals, ok, err := m.Do(ctx, vals, made)
	fmt.Println(vals, ok, err)
	// Output:
	// asking for CHF and JPY
	// [0.5 1.25 2.5] [true true true] <nil>
}

func ExampleFlights_Close() {
	r := &rates{vals: make(map[string]rate)}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	fmt.Println(r.flights.Close(ctx)) // nobody creates: returns at once
	_, err := r.get(context.Background(), "EUR")
	fmt.Println(err == lock.ErrClosed)
	// Output:
	// <nil>
	// true
}
