package dogpile_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// What docs/expirations.md promises of its three cases.

func TestExpirationsOfProducts(t *testing.T) {
	shop := &dogpile.Options{
		Expiration:   time.Hour,      // changes are told; this is for those that are forgotten
		RefreshAhead: 0.8,            // nobody waits for a popular product
		Jitter:       0.1,            // nor does the database get them all at once
		StaleIfError: 24 * time.Hour, // when the database is down the shop goes on
	}
	product := dogpile.CacheOptions[string]{
		NotFound:    sql.ErrNoRows,
		NotFoundFor: time.Minute, // Set and Delete end it sooner
	}
	bubble(t, func(t *testing.T) {
		products := dogpile.NewCache(newRegion(t, newMemory(t), shop), &product)
		tea, none := constant("tea"), &creator[string]{err: sql.ErrNoRows}
		tea.takes = 2 * time.Second
		_, _ = products.GetOrCreate(bg, "1", tea.create)
		for range 100 * 60 {
			pass(time.Minute)
			began := time.Now()
			v, err := products.GetOrCreate(bg, "1", tea.create)
			if wantValue(t, "a popular product", v, err, "tea"); time.Since(began) > 0 {
				t.Fatal("a caller waited")
			}
		}
		later(time.Minute)
		if n := tea.calls.Load(); n < 100*60/49 || n > 100*60/42 {
			t.Errorf("%d queries in 100 hours", n)
		}

		pass(23 * time.Hour)
		tea.err = errOrigin
		v, err := products.GetOrCreate(bg, "1", tea.create)
		wantValue(t, "a product without its database", v, err, "tea")
		pass(2 * time.Hour)
		_, err = products.GetOrCreate(bg, "1", tea.create)
		wantErr(t, "after 25 hours", err, errOrigin)

		for range 45 { // RefreshAhead holds for such answers too
			_, err = products.GetOrCreate(bg, "none", none.create)
			wantErr(t, "a product that does not exist", err, sql.ErrNoRows)
			pass(time.Second)
		}
		wantCalls(t, none, 1)
	})
}

func TestExpirationsOfRates(t *testing.T) {
	rates := &dogpile.Options{
		Expiration:   time.Minute,        // so often a rate that is asked for is fetched
		StaleFor:     9 * time.Minute,    // the oldest rate is of ten minutes ago
		Runner:       dogpile.Background, // nobody waits for the next one
		StaleIfError: 6 * time.Hour,      // but when the API is down an old one will do
		FailFor:      5 * time.Second,    // and the API is not asked by each caller
	}
	bubble(t, func(t *testing.T) {
		cache := newCache[int](t, rates)
		api := counting(2 * time.Second)
		ask := func(what string, want int, wait time.Duration) {
			t.Helper()
			began := time.Now()
			v, err := cache.GetOrCreate(bg, "EUR", api.create)
			wantValue(t, what, v, err, want)
			if took := time.Since(began); took != wait {
				t.Errorf("%s: a caller waited for %v", what, took)
			}
			later(3 * time.Second) // for what is fetched in the background
		}
		ask("the first", 1, 2*time.Second)
		pass(50 * time.Second)
		ask("up to a minute old", 1, 0)
		pass(8 * time.Minute)
		ask("up to ten minutes old", 1, 0)
		ask("the next one", 2, 0)
		pass(10 * time.Minute)
		ask("older", 3, 2*time.Second)

		api.err = errOrigin
		pass(5 * time.Hour)
		ask("up to six hours old, and the API is down", 3, 2*time.Second)
		ask("and again", 3, 0) // within five seconds
		wantCalls(t, api, 4)
		pass(2 * time.Hour)
		for range 5 {
			_, err := cache.GetOrCreate(bg, "EUR", api.create)
			wantErr(t, "older, and the API is down", err, errOrigin)
		}
		wantCalls(t, api, 5)
	})
}

func TestExpirationsOfRights(t *testing.T) {
	rights := &dogpile.Options{
		Expiration:   30 * time.Second, // even if the Delete was forgotten
		StaleFor:     1,                // a nanosecond: nobody gets an older one
		RetryDeletes: 1000,             // if the cache is down a Delete is done later
	}
	bubble(t, func(t *testing.T) {
		cache := newCache[int](t, rights)
		query := counting(time.Second)
		_, _ = cache.GetOrCreate(bg, "ann", query.create)
		pass(31 * time.Second)
		for _, c := range crowd(10, get(cache, "ann", query.create)) {
			r := <-c
			wantValue(t, "after 31 seconds", r.v, r.err, 2)
		}
		if err := cache.Delete(context.Background(), "ann"); err != nil {
			t.Error(err)
		}
		v, err := cache.GetOrCreate(bg, "ann", query.create)
		wantValue(t, "after a Delete", v, err, 3)
		pass(31 * time.Second)
		query.err = errOrigin
		_, err = cache.GetOrCreate(bg, "ann", query.create)
		wantErr(t, "when the query fails", err, errOrigin)
	})
}
