// Shop is a small web shop whose database has a cache in front of it.
//
//	go run ./examples/shop                       the shop, on http://127.0.0.1:8080
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
	"net"
	"net/http"
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
	closeCache, err := configureCache(ctx, *configFile)
	if err != nil {
		return err
	}
	defer closeCache()

	handler := web.Handler(catalog.New(db))
	if *noCache {
		handler = web.Uncached(handler)
	}
	return listenAndServe(ctx, *listen, handler)
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
func configureCache(ctx context.Context, file string) (closeCache func(), err error) {
	settings, err := config.LoadFS(embedded, "shop.toml")
	if file != "" {
		settings, err = config.Load(file)
	}
	if err != nil {
		return nil, err
	}
	maps.Copy(settings, config.FromEnv("SHOP_")) // the environment counts for more

	regions := []*dogpile.Region{catalog.Region, web.Region}
	setup := dogpile.Setup{Settings: settings, Prefix: "cache."}
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

// listenAndServe answers requests until ctx ends, and those under way after that.
func listenAndServe(ctx context.Context, address string, handler http.Handler) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Printf("The shop is open on http://%s\n", listener.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// Browsers open connections to spare. Shutdown waits for up to six seconds whether
	// anything is asked on them.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}
