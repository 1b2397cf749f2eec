// Shop is a small web shop whose database has a cache in front of it.
//
//	go run ./examples/shop                       the shop, on http://127.0.0.1:8080, and what goes
//	                                             on in its cache, on http://127.0.0.1:8081
//	go run ./examples/shop --config FILE         … with its cache in a Redis
//	go run ./examples/shop load                  the shop under load, without and with the cache
package main

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dogpile-go/dogpile"
	_ "github.com/dogpile-go/dogpile/backend/memory" // what a settings file may name
	_ "github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/config"
	"github.com/dogpile-go/dogpile/examples/shop/catalog"
	"github.com/dogpile-go/dogpile/examples/shop/web"
)

//go:embed shop.toml
var embedded embed.FS

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run, args := serve, os.Args[1:]
	if len(args) > 0 && args[0] == "load" {
		run, args = underLoad, args[1:]
	}
	if err := run(ctx, args); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

// serve is the shop, until ctx ends.
func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("shop", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:8080", "`address` to listen on; with port 0 it takes a free one")
	configFile := flags.String("config", "", "settings `file`; none: the cache is in memory")
	inside := flags.String("inside", "127.0.0.1:8081", "`address` of the dashboard and the metrics, for those who run the shop; empty: none")
	database := flags.String("db", "shop.db", "`file` of the SQLite database, which is made if it is missing")
	noCache := flags.Bool("no-cache", false, "leave the cache aside, to compare")
	if err := parse(flags, args); err != nil {
		return err
	}

	db, err := catalog.Open(ctx, *database)
	if err != nil {
		return err
	}
	defer db.Close()
	watch := newWatch()
	closeCache, err := configureCache(ctx, *configFile, watch.hooks())
	if err != nil {
		return err
	}
	defer closeCache()

	handler := web.Handler(catalog.New(db))
	if *noCache {
		handler = web.Uncached(handler)
	}
	doors := []door{{"The shop is open on", *listen, handler}}
	if *inside != "" {
		doors = append(doors, door{"What goes on inside is on", *inside, watch.handler()})
	}
	return listenAndServe(ctx, doors)
}

// parse reads the arguments, all of which are flags. What is wrong with a flag ends the program.
func parse(flags *flag.FlagSet, args []string) error {
	_ = flags.Parse(args) // with ExitOnError it returns no error
	if flags.NArg() > 0 {
		return fmt.Errorf("what is %q? -h tells what there is", flags.Arg(0))
	}
	return nil
}

// configureCache tells the regions of all packages where they keep their entries.
func configureCache(ctx context.Context, file string, hooks *dogpile.Hooks) (closeCache func(), err error) {
	settings, err := config.LoadFS(embedded, "shop.toml")
	if file != "" {
		settings, err = config.Load(file)
	}
	if err != nil {
		return nil, err
	}
	maps.Copy(settings, config.FromEnv("SHOP_")) // the environment counts for more

	regions := []*dogpile.Region{catalog.Region, web.Region}
	setup := dogpile.Setup{Settings: settings, Prefix: "cache.", Options: &dogpile.Options{Hooks: hooks}}
	for _, warning := range setup.Warnings() {
		slog.Warn(warning)
	}
	if err := setup.Configure(ctx, regions...); err != nil {
		return nil, err
	}
	return func() {
		// What is being created for others, or waits to be invalidated, has a little time.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		for _, region := range regions {
			if err := region.Close(ctx); err != nil {
				slog.Error("the cache was not closed in order", "region", region.Name(), "error", err)
			}
		}
	}, nil
}
