package dogpile_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/config"
)

// What README.md shows: a cached function, a cache, and settings.

type person struct{ Name string }

// database is something slow.
type database struct{}

func (database) User(_ context.Context, id int) (person, error) {
	fmt.Println("looking up", id)
	return person{fmt.Sprint("user ", id)}, nil
}

var db database

var users = dogpile.NewRegion("users")
var loadUser = dogpile.NewFunc(users, "user", db.User, nil)

func startWithMemory() error {
	backend, err := memory.New(&memory.Options{MaxEntries: 100_000})
	if err != nil {
		return err
	}
	return users.Configure(backend, &dogpile.Options{Expiration: time.Hour})
}

func Example() {
	ctx := context.Background()
	if err := startWithMemory(); err != nil {
		panic(err)
	}
	u, err := loadUser.Call(ctx, 42) // one query, however many ask
	fmt.Println(u.Name, err)
	u, err = loadUser.Call(ctx, 42)
	fmt.Println(u.Name, err)
	err = loadUser.Delete(ctx, 42) // after a change
	fmt.Println(err)
	fmt.Println(loadUser.Call(ctx, 42))
	// Output:
	// looking up 42
	// user 42 <nil>
	// user 42 <nil>
	// <nil>
	// looking up 42
	// {user 42} <nil>
}

func Example_keys() {
	ctx := context.Background()
	region := exampleRegion("pages", nil)
	render := func(_ context.Context, url string) ([]byte, error) {
		fmt.Println("rendering", url)
		return []byte("<h1>Hello</h1>"), nil
	}
	var pages = dogpile.NewCache[[]byte](region, nil)

	url := "/hello"
	page, err := pages.GetOrCreate(ctx, url, func(ctx context.Context) ([]byte, error) {
		return render(ctx, url)
	})
	fmt.Printf("%s %v\n", page, err)
	page, cached, err := pages.Get(ctx, url)
	fmt.Printf("%s %v %v\n", page, cached, err)
	// Output:
	// rendering /hello
	// <h1>Hello</h1> <nil>
	// <h1>Hello</h1> true <nil>
}

func startFromSettings(ctx context.Context, hooks *dogpile.Hooks, users *dogpile.Region) error {
	settings, err := config.Load("app.toml") // [cache.users] backend = "redis://10.0.0.1/0" …
	if err != nil {
		return err
	}
	maps.Copy(settings, config.FromEnv("APP_")) // APP_CACHE__USERS__EXPIRATION=1h
	setup := dogpile.Setup{Settings: settings, Prefix: "cache.", Options: &dogpile.Options{Hooks: hooks}}
	return setup.Configure(ctx, users)
}

// inFolderWith runs f in a folder with a file of settings, and with a variable of the environment.
func inFolderWith(toml, name, value string, f func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	before, err := os.Getwd()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "app.toml"), []byte(toml), 0o600)
	}
	if err == nil {
		err = os.Chdir(dir)
	}
	if err == nil {
		err = os.Setenv(name, value)
	}
	if err != nil {
		panic(err)
	}
	defer os.Unsetenv(name)
	defer func() { _ = os.Chdir(before) }()
	f()
}

func ExampleSetup_environment() {
	const toml = `
[cache.users]
backend = "memory"
expiration = "1m"
`
	inFolderWith(toml, "APP_CACHE__USERS__EXPIRATION", "1h", func() {
		users := dogpile.NewRegion("users")
		err := startFromSettings(context.Background(), nil, users)
		fmt.Println(users, err)
	})
	// Output:
	// region "users" over memory, expires after 1h0m0s <nil>
}
