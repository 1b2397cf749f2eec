package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/dogpile-go/dogpile/driver"
)

const (
	// temporary, in the place of a URL, is a file that is removed afterwards. It is
	// what --backend is unless it is given.
	temporary = "file"

	// defaultProcesses is how many processes there are, if they can share the
	// backend.
	defaultProcesses = 4
)

// backend is what the clients use. It is open here to see what it can do, and to
// be cleaned.
type backend struct {
	opened    driver.Backend
	url       string // may hold secrets
	dir       string // to be removed in the end; "": none
	processes int    // that are to use it
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
	return b, nil
}

func (b *backend) open(ctx context.Context) (err error) {
	if b.url == temporary {
		if b.dir, err = os.MkdirTemp("", "dogpile-demo-"); err != nil {
			return failure{err}
		}
		b.url = "file://?path=" + url.QueryEscape(filepath.Join(b.dir, "cache.db"))
	}
	if b.opened, err = driver.Open(ctx, b.url); err != nil {
		return fmt.Errorf("--backend: %s", strings.TrimPrefix(err.Error(), "dogpile: "))
	}
	return nil
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
