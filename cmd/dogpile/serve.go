package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/tiles"
	"github.com/dogpile-go/dogpile/dashboard"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/plugin/dogpileprom"
)

// server is the command line of dogpile serve.
type server struct {
	addr, backend, name  string
	expiration, staleFor time.Duration
	delay                time.Duration
	near, actions        bool
}

func newServe() *cobra.Command {
	var s server
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve a map of tiles through a cache, with a dashboard and metrics",
		Long: `serve serves a map that takes time to draw, and each tile of it through the cache of a region
"tiles": at / a page on which one clicks through it, and that marks each tile as a hit,
stale, created or waited for; at /dashboard/ the dashboard of the process; and at /metrics its
metrics, for "dogpile top --metrics" or Prometheus. It is for trying things out: kill
a process, stop the server of the backend, and see what becomes of it.

Several processes may serve from one backend, such as redis://127.0.0.1/0, each with an --addr
and a --name of its own. One of them draws a tile, and the others wait for it or show the
old one. What they store stays in the backend until it is too old.

The header Server-Timing of each tile tells where it comes from: cache;desc="hit", "stale",
"created" or "waited"; its Age tells how many seconds old it is.

There is no password: who reaches --addr sees the tiles, the dashboard and the metrics,
and can delete tiles if --actions is given.

It ends by Ctrl-C or SIGTERM, and then exits with 0 when what goes on is over.`,
		Example: `  dogpile serve
  dogpile serve --backend redis://127.0.0.1:6379/0 --addr 127.0.0.1:8081 --name one
  dogpile serve --backend redis://127.0.0.1:6379/0 --addr 127.0.0.1:8082 --name two`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.check(); err != nil {
				return err
			}
			return s.run(cmd)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&s.addr, "addr", "127.0.0.1:8080", "address to listen on; with port 0 one that is free")
	flags.StringVar(&s.backend, "backend", "memory://?max_bytes=67108864", "URL of the backend")
	flags.StringVar(&s.name, "name", "", "what to call this process (default: its host and number)")
	flags.DurationVar(&s.expiration, "expiration", 10*time.Second, "age at which tiles expire")
	flags.DurationVar(&s.staleFor, "stale-for", time.Minute, "how long past that they may be served; 0: as long again")
	flags.DurationVar(&s.delay, "delay", 300*time.Millisecond, "time added to the drawing of each tile")
	flags.BoolVar(&s.near, "near", false, "keep copies of tiles in this process; the backend has to tell of changes, or copies live for 1 s")
	flags.BoolVar(&s.actions, "actions", false, "let the dashboard delete tiles and invalidate all of them")
	cmd.RegisterFlagCompletionFunc("backend", completeSchemes)
	for _, name := range []string{"addr", "name", "expiration", "stale-for", "delay"} {
		cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return cmd
}

func (s *server) check() error {
	for _, d := range []struct {
		name       string
		value, min time.Duration
	}{{"expiration", s.expiration, time.Millisecond}, {"stale-for", s.staleFor, 0}, {"delay", s.delay, 0}} {
		if d.value < d.min || d.value > longest {
			return fmt.Errorf("--%s is %v, not from %v to %v", d.name, d.value, d.min, longest)
		}
	}
	return nil
}

func (s *server) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	host, _ := os.Hostname()
	s.name = cmp.Or(s.name, fmt.Sprintf("%s %d", cmp.Or(host, "process"), os.Getpid()))
	b, err := driver.Open(ctx, s.backend)
	if err != nil {
		return fmt.Errorf("--backend: %s", strings.TrimPrefix(err.Error(), "dogpile: "))
	}
	defer driver.Close(b)
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return failure{fmt.Errorf("--addr: %w", err)}
	}
	defer listener.Close()
	handler, region, err := s.handler(ctx, b, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s serves http://%s/ through %s\n", printable(s.name), listener.Addr(), driver.CapsOf(b).Name); err != nil {
		return failure{err}
	}
	if err := serve(ctx, listener, handler); err != nil {
		return failure{err}
	}
	// Requests are over by now, or have been given up. What is created behind the scenes is not.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := region.Close(ending); err != nil && ending.Err() == nil {
		return failure{err}
	}
	return nil
}

// patience is how long what goes on may take to end, once the process is to end.
const patience = 5 * time.Second

// handler returns what is served, and the region that it is served through. ctx ends with the
// process.
func (s *server) handler(ctx context.Context, b driver.Backend, logger *slog.Logger) (http.Handler, *dogpile.Region, error) {
	region := dogpile.NewRegion("tiles")
	var tileMap *tiles.Map
	board := dashboard.New(&dashboard.Options{
		Regions: []*dogpile.Region{region}, Actions: s.actions, HideValues: true,
		Renew: func(ctx context.Context, _ *dogpile.Region, key string) error { return tileMap.Renew(ctx, key) },
	})
	metrics := dogpileprom.NewCollector(region)
	o := &dogpile.Options{
		Expiration: s.expiration,
		StaleFor:   s.staleFor,
		Runner:     dogpile.Background,
		Hooks:      dogpile.JoinHooks(board.Hooks(), metrics.Hooks()),
		Logger:     logger,
	}
	if s.near {
		o.Near = new(dogpile.Near)
	}
	if err := region.Configure(b, o); err != nil {
		return nil, nil, err
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(metrics); err != nil {
		return nil, nil, failure{err}
	}
	mux := http.NewServeMux()
	about := fmt.Sprintf("%s; tiles expire after %v", driver.CapsOf(b).Name, s.expiration)
	tileMap = tiles.New(region, s.delay, s.name, about)
	go board.Watch(ctx) // who comes to look finds what has happened before
	mux.Handle("/", tileMap)
	mux.Handle("/dashboard/", http.StripPrefix("/dashboard", board))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux, region, nil
}

// serve serves until ctx ends, and then until the requests are answered that there are.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := server.Shutdown(ending); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return server.Close()
}
