package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

const (
	// temporary stands for a URL and means a cache file that is removed after the
	// run. It is the default of --backend.
	temporary = "file"

	// defaultProcesses is how many processes run the clients, if they can share the
	// backend.
	defaultProcesses = 4
)

// backend is the backend that the clients use. The demo opens it as well: to see
// what it can do, and to remove the entries of a run.
type backend struct {
	opened    driver.Backend
	url       string // may hold secrets
	dir       string // which is removed in the end; "": none
	processes int    // how many processes use it
}

// open opens the backend and decides on the number of processes.
func (f *demoFlags) open(ctx context.Context) (*backend, error) {
	b := &backend{url: f.backend, processes: f.processes}
	if err := b.open(ctx); err != nil {
		b.close()
		return nil, err
	}
	switch shared := driver.CapsOf(b.opened).Shared; {
	case b.processes > 1 && !shared:
		b.close()
		return nil, fmt.Errorf("--processes is %d, but no two processes can share a backend of scheme %s", b.processes, b.scheme())
	case b.processes > 0:
	case shared:
		b.processes = min(defaultProcesses, f.clients)
	default:
		b.processes = 1
	}
	if f.near && !b.watches() {
		b.close()
		return nil, fmt.Errorf("--near: copies need a backend that processes share and that tells of changes, which one of scheme %s does not", b.scheme())
	}
	return b, nil
}

// watches reports whether copies of the backend's entries can be kept.
func (b *backend) watches() bool {
	w, ok := b.opened.(driver.Watcher)
	if !ok || !driver.CapsOf(b.opened).Shared {
		return false
	}
	stop, _ := w.Watch(time.Second)
	if stop == nil {
		return false
	}
	stop()
	return true
}

func (b *backend) open(ctx context.Context) (err error) {
	if b.url == temporary {
		if b.dir, err = os.MkdirTemp("", "dogpile-demo-"); err != nil {
			return failure{err}
		}
		b.url = "file://?path=" + url.QueryEscape(filepath.Join(b.dir, "cache.db"))
	}
	b.opened, err = driver.Open(ctx, b.url)
	if err == nil {
		err = reach(ctx, b.opened)
	}
	if ctx.Err() != nil {
		return ctx.Err() // interrupted, whatever the backend makes of it
	}
	if err != nil {
		return fmt.Errorf("--backend: %s", strings.TrimPrefix(err.Error(), "dogpile: "))
	}
	return nil
}

// reach asks the backend for something. Opening one need not connect to its
// server, and a run without it would show nothing but errors.
func reach(ctx context.Context, b driver.Backend) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return b.Get(ctx, []driver.Item{{Key: "dogpile-demo"}})
}

func (b *backend) scheme() string {
	scheme, _, _ := strings.Cut(b.url, ":")
	return scheme
}

func (b *backend) close() {
	if b.opened != nil {
		driver.Close(b.opened)
	}
	if b.dir != "" {
		os.RemoveAll(b.dir)
	}
}
