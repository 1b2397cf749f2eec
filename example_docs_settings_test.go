package dogpile_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/config"
)

// What docs/settings.md shows.
func startBoth(ctx context.Context, hooks *dogpile.Hooks, users, pages *dogpile.Region) error {
	settings, err := config.Load("app.toml")
	if err != nil {
		return err
	}
	maps.Copy(settings, config.FromEnv("APP_")) // the environment wins
	setup := dogpile.Setup{
		Settings: settings,
		Prefix:   "cache.",
		Options:  &dogpile.Options{Hooks: hooks}, // what no string can say, for all regions
	}
	for _, w := range setup.Warnings() {
		slog.Warn(w) // legal, but seldom meant
	}
	return setup.Configure(ctx, users, pages)
}

// Two regions share a backend, and are told of to one and the same hook.
func ExampleSetup_hooks() {
	const toml = `
[cache]
backends.main = "memory"
users.backend = "@main"
pages.backend = "@main"
`
	inFolderWith(toml, "APP_CACHE__PAGES__EXPIRATION", "5m", func() {
		ctx := context.Background()
		users, pages := dogpile.NewRegion("users"), dogpile.NewRegion("pages")
		hooks := &dogpile.Hooks{Miss: func(_ context.Context, e dogpile.Event) { fmt.Println("miss:", e.Region, e.Key) }}
		fmt.Println(startBoth(ctx, hooks, users, pages))
		fmt.Println(pages)
		for _, region := range []*dogpile.Region{users, pages} {
			_, _, _ = dogpile.NewCache[string](region, nil).Get(ctx, "42")
		}
	})
	// Output:
	// <nil>
	// region "pages" over memory, expires after 5m0s
	// miss: users 42
	// miss: pages 42
}
