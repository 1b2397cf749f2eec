package config_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing/fstest"

	"github.com/dogpile-go/dogpile"
	_ "github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/config"
)

func ExampleLoad() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app.toml")
	os.WriteFile(path, []byte(`
		[cache.users]
		backend = "memory://?max_entries=100000"
		expiration = "1h"
		stale_for = 1800

		[cache.users.arguments]
		weights = [1, 2]
	`), 0o600)

	settings, err := config.Load(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(settings["cache.users.expiration"])
	fmt.Println(settings["cache.users.stale_for"])
	fmt.Println(settings["cache.users.arguments.weights"])
	// Output:
	// 1h
	// 1800
	// 1,2
}

// Settings that are a part of the program, as //go:embed takes them in, are what counts where
// no file is given.
func ExampleLoadFS() {
	embedded := fstest.MapFS{"app.toml": {Data: []byte("[cache.users]\nbackend = 'memory'\nexpiration = '1h'")}}

	settings, err := config.LoadFS(embedded, "app.toml")
	fmt.Println(settings, err)
	_, err = config.LoadFS(embedded, "other.toml")
	fmt.Println(err)
	// Output:
	// map[cache.users.backend:memory cache.users.expiration:1h] <nil>
	// dogpile: config "other.toml": file does not exist
}

// The environment overrides what a file says.
func ExampleFromEnv() {
	os.Setenv("EXAMPLE_CACHE__USERS__STALE_FOR", "30m")
	defer os.Unsetenv("EXAMPLE_CACHE__USERS__STALE_FOR")

	settings := map[string]string{"cache.users.stale_for": "1h"} // from config.Load
	maps.Copy(settings, config.FromEnv("EXAMPLE_"))
	fmt.Println(settings)
	// Output: map[cache.users.stale_for:30m]
}

// The environment has no case. The names of regions may have.
func ExampleFromEnv_capitals() {
	os.Setenv("EXAMPLE_CACHE__USERCACHE__EXPIRATION", "1d")
	defer os.Unsetenv("EXAMPLE_CACHE__USERCACHE__EXPIRATION")

	settings := map[string]string{"cache.UserCache.backend": "memory", "cache.UserCache.expiration": "1h"} // from config.Load
	maps.Copy(settings, config.FromEnv("EXAMPLE_"))
	users := dogpile.NewRegion("UserCache")
	fmt.Println(dogpile.ConfigureAll(context.Background(), settings, "cache.", users))
	fmt.Println(users)
	// Output:
	// <nil>
	// region "UserCache" over memory, expires after 24h0m0s
}
