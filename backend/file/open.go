package file

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/watching"
)

const scheme = "file"

func init() {
	driver.Register(scheme, func(ctx context.Context, args *driver.Args) (driver.Backend, error) {
		b, err := openArgs(ctx, args, nil)
		if err != nil {
			return nil, err
		}
		return b, nil
	})
}

// Open opens the cache at place, which is a path or a URL, and makes it if
// there is nothing. Its directory has to exist. A nil o stands for the zero
// Options. What both a URL and o say is as o says.
//
// In a URL the path follows file://, and a third slash makes it absolute.
// Characters that mean something in a URL are escaped, as "%3F". The arguments are
// max_bytes, timeout, reset, and path in place of a path in the URL. A place that
// is no URL is taken as it is.
//
// A new file, like the three that belong to it, can be read and written by this
// user alone. A file that is there keeps its permissions, and the three get the
// same. In a directory where everybody may write, as /tmp, a symbolic link and a
// file of another user are refused. It is an error if the file system is read-only
// or on a network, if the file is not a cache, or, without Options.Reset, if it is
// damaged or of another version.
func Open(ctx context.Context, place string, o *Options) (*Backend, error) {
	rest, isURL := strings.CutPrefix(place, scheme+":")
	if !isURL && !strings.Contains(place, "://") {
		b, err := openPath(ctx, place, o)
		if err != nil {
			return nil, fmt.Errorf("dogpile: open %s: %w", place, err)
		}
		return b, nil
	}
	if isURL && !strings.HasPrefix(rest, "//") {
		place = scheme + "://" + rest
	}
	args, err := driver.ParseArgs(place)
	if err != nil {
		return nil, err
	}
	b, err := openArgs(ctx, args, o)
	if err != nil {
		return nil, fmt.Errorf("dogpile: open %s: %w", args, err)
	}
	return b, nil
}

func openArgs(ctx context.Context, args *driver.Args, o *Options) (*Backend, error) {
	if args.Scheme != scheme {
		return nil, fmt.Errorf("%q is no scheme of this backend", args.Scheme)
	}
	var opts Options
	if o != nil {
		opts = *o
	}
	maxBytes, timeout, reset := args.Int("max_bytes", 0), args.Duration("timeout", 0), args.Bool("reset", false)
	path, err := pathOf(args)
	if err = errors.Join(args.Err(), err); err != nil {
		return nil, err
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = maxBytes
	}
	if opts.Timeout == 0 {
		opts.Timeout = timeout
	}
	opts.Reset = opts.Reset || reset
	return openPath(ctx, path, &opts)
}

// pathOf returns the path of the file. The first part of a relative path was
// parsed as a host.
func pathOf(args *driver.Args) (string, error) {
	argument := args.String("path", "")
	switch {
	case args.User != "" || args.Password != "":
		return "", errors.New("a path has an @, to be written as %40")
	case len(args.Hosts) > 1:
		return "", errors.New("a path has a comma, to be written as %2C")
	}
	path := args.Path
	if len(args.Hosts) > 0 && args.Hosts[0] != "localhost" {
		first, err := url.PathUnescape(args.Hosts[0])
		if err != nil {
			return "", errors.New("a path has a % that begins no escape, to be written as %25")
		}
		path = first + path
	}
	if drive := strings.TrimPrefix(path, "/"); filepath.VolumeName(drive) != "" {
		path = drive
	}
	switch {
	case path != "" && argument != "":
		return "", &driver.ArgError{Name: "path", Problem: "is given, and a path in the URL too"}
	case path == "":
		path = argument
	}
	return filepath.FromSlash(path), nil
}

func openPath(ctx context.Context, path string, o *Options) (*Backend, error) {
	b := &Backend{timeout: DefaultTimeout}
	if o != nil {
		b.o = *o
	}
	if err := b.o.check(); err != nil {
		return nil, err
	}
	if b.o.Timeout != 0 {
		b.timeout = max(b.o.Timeout, 0)
	}
	if path == "" {
		return nil, errors.New("there is no path: file:///var/cache/app.db, or file://app.db in the working directory")
	}
	var err error
	if b.path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if b.store, err = openStore(ctx, b.path, &b.o, nil); err != nil {
		return nil, err
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.watchers = watching.Watchers{Ask: b.prove, Go: b.goAsking, Closed: b.ctx.Done()}
	l := b.limit(ctx)
	b.wrote(b.store, &l, 0, 0, b.o.MaxBytes > 0) // the bound may be a new one
	return b, nil
}
