package dogpile_test

import (
	"context"
	"fmt"
	"time"

	"github.com/dogpile-go/dogpile"
	_ "github.com/dogpile-go/dogpile/backend/memory"
	_ "github.com/dogpile-go/dogpile/proxy" // breaker, compress, …
)

// A file says where entries are and for how long. The program says who is told what
// happens, which no file can.
func ExampleSetup() {
	ctx := context.Background()
	users, rates := dogpile.NewRegion("users"), dogpile.NewRegion("rates")
	setup := dogpile.Setup{
		Settings: map[string]string{ // as config.Load returns it
			"cache.users.backend":    "memory",
			"cache.users.expiration": "1d12h",
			"cache.users.proxies":    "breaker, compress",
			"cache.rates.backend":    "memory",
		},
		Prefix: "cache.",
		Options: &dogpile.Options{ // for all regions, where no setting says otherwise
			Expiration: time.Minute,
			Hooks: &dogpile.Hooks{Create: func(_ context.Context, e dogpile.Event) {
				fmt.Println("created", e.Key, "of", e.Region)
			}},
		},
		Regions: map[string]*dogpile.Options{"rates": {StaleFor: dogpile.Never}},
	}
	fmt.Println(setup.Configure(ctx, users, rates))
	fmt.Println(users)
	fmt.Println(rates)
	_, err := dogpile.NewCache[string](users, nil).GetOrCreate(ctx, "42", func(context.Context) (string, error) { return "Ann", nil })
	fmt.Println(err)
	// Output:
	// <nil>
	// region "users" over memory, expires after 36h0m0s
	// region "rates" over memory, expires after 1m0s
	// created 42 of users
	// <nil>
}

// Regions that name a shared backend have one client between them, and each its own keys.
func ExampleSetup_sharedBackend() {
	ctx := context.Background()
	users, rates := dogpile.NewRegion("users"), dogpile.NewRegion("rates")
	setup := dogpile.Setup{Settings: map[string]string{
		"backends.main":                       "memory",
		"backends.main.arguments.max_entries": "100000",
		"users.backend":                       "@main",
		"rates.backend":                       "@main",
	}}
	fmt.Println(setup.Configure(ctx, users, rates))
	fmt.Println(users.Backend() == rates.Backend())

	setup.Settings["rates.backend"] = "@mian"
	fmt.Println(setup.Configure(ctx, dogpile.NewRegion("users"), dogpile.NewRegion("rates")))

	fmt.Println(users.Close(ctx), rates.Close(ctx)) // the second one closes it
	// Output:
	// <nil>
	// true
	// dogpile: settings: rates.backend: there is no shared backend "mian"; known: main
	// <nil> <nil>
}

// What is legal, but not what was meant: to be logged when the program starts.
func ExampleSetup_Warnings() {
	setup := dogpile.Setup{Prefix: "cache.", Settings: map[string]string{
		"cache.backends.main":     "redis://cache.example/0",
		"cache.backends.old":      "redis://old.example/0",
		"cache.users.backend":     "@main",
		"cache.users.stale_for":   "1h",
		"cache.users.prefix":      "v1",
		"cache.admins.backend":    "@main",
		"cache.admins.prefix":     "v11",
		"cache.admins.lock_ttl":   "2m",
		"cache.orders.backend":    "memory",
		"cache.orders.expiration": "5m",
	}}
	for _, w := range setup.Warnings() {
		fmt.Println(w)
	}
	// Output:
	// cache.admins.lock_ttl: if a creator's process dies others wait for 2m0s, longer than a creation may take, 30s
	// cache.admins.prefix: a key of region "admins" can be one of region "users", as its prefix "v11" begins with "v1" and both are over one backend
	// cache.backends.old: no region uses this backend
	// cache.users.stale_for: it has no effect where a cache has no expiration, as the region has none
}

// A test of the settings that are deployed: nothing is configured, and no server asked.
func ExampleSetup_Check() {
	fmt.Println(dogpile.Setup{Prefix: "cache.", Settings: map[string]string{
		"cache.users.backend":               "memory",
		"cache.users.arguments.max_entires": "1000",
		"cache.users.arguments.max_bytes":   "much",
		"cache.users.expiration":            "1 hour",
		"cache.users.refresh_ahead":         "2",
		"cache.rates.backend":               "@main",
		"cache.rates.expiration_time":       "60",
		"cache.rates.expiration":            "1m",
		"cache.what":                        "ever",
	}}.Check(context.Background()))
	// Output:
	// dogpile: settings: cache.rates.backend: there is no shared backend "main"; known: none, cache.backends.main would be one
	// cache.rates.expiration_time: is given twice, as expiration too
	// cache.users.arguments.max_bytes: argument "max_bytes" is not a whole number
	// cache.users.arguments.max_entires: argument "max_entires" is unknown
	// cache.users.expiration: neither a duration like "1m30s" or "2d" nor a number of seconds
	// cache.users.refresh_ahead: 2 is not from 0 to less than 1
	// cache.what: belongs to no region
}
