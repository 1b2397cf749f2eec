package memcached

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/memcache"
	"github.com/dogpile-go/dogpile/internal/tlsargs"
	"github.com/dogpile-go/dogpile/proxy"
)

const (
	scheme     = "memcached"
	schemeTLS  = "memcacheds"
	schemeUnix = "memcached+unix"

	// deadRetry is how long a server is left alone that keeps failing, unless
	// the URL or Options.Breaker says otherwise.
	deadRetry = 2 * time.Second
)

func init() {
	for _, s := range []string{scheme, schemeTLS, schemeUnix} {
		driver.Register(s, func(ctx context.Context, args *driver.Args) (driver.Backend, error) {
			b, err := open(ctx, args, nil)
			if err != nil {
				return nil, err
			}
			return b, nil
		})
	}
}

// Open returns a Backend over the servers that rawURL names, after connecting
// to them. It fails if none can be reached; one that cannot, while others can,
// fails the calls that need it, until it can. Unless o says otherwise each
// server has a breaker. A nil o stands for the zero Options. What both rawURL and
// o say is as o says.
//
// Hosts without a port have 11211, and "*n" after one gives it n times as many
// keys. Without a host there is localhost. User and password are
// Options.Username and Password.
//
// Arguments are hash, timeout, connect_timeout, lock_prefix, python_lock,
// protocol (meta or binary), username, password, max_value, conns, tcp_nodelay
// (false turns Nagle's algorithm on), keepalive, dead_retry (how long a server
// that keeps failing is left alone: 2 s), breaker (false: it never is); with
// TLS ca_file, cert_file, key_file, server_name and insecure. Errors never show
// a value of the URL but scheme, hosts and path.
func Open(ctx context.Context, rawURL string, o *Options) (*Backend, error) {
	args, err := driver.ParseArgs(rawURL)
	if err != nil {
		return nil, err
	}
	b, err := open(ctx, args, o)
	if err != nil {
		return nil, fmt.Errorf("dogpile: open %s: %w", args, err)
	}
	return b, nil
}

func open(ctx context.Context, args *driver.Args, o *Options) (*Backend, error) {
	switch args.Scheme {
	case scheme, schemeTLS, schemeUnix:
	default:
		return nil, fmt.Errorf("%q is no scheme of this backend", args.Scheme)
	}
	var opts Options
	if o != nil {
		opts = *o
	}
	err := opts.read(args)
	load := func() (*tls.Config, error) { return nil, nil }
	if args.Scheme == schemeTLS {
		load = tlsargs.Read(args)
	}
	servers, misplaced := place(args)
	_, invalid := opts.complete()
	if err := errors.Join(args.Err(), err, misplaced, invalid); err != nil {
		return nil, err
	}
	if opts.TLS == nil {
		if opts.TLS, err = load(); err != nil {
			return nil, err
		}
	}
	b, err := newBackend(servers, &opts)
	if err != nil {
		return nil, err
	}
	if err := b.core.reach(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// place returns the servers that a URL names.
func place(args *driver.Args) ([]string, error) {
	path := strings.TrimSuffix(args.Path, "/")
	switch {
	case args.Scheme == schemeUnix && (path == "" || len(args.Hosts) > 0):
		return nil, errors.New("a URL of a unix socket has its path and no host: memcached+unix:///run/memcached.sock")
	case args.Scheme == schemeUnix:
		return []string{"unix:" + path}, nil
	case path != "":
		return nil, errors.New("there are no databases for a path to name")
	case len(args.Hosts) == 0:
		return []string{"localhost"}, nil
	}
	return args.Hosts, nil
}

// read takes from args what o leaves open.
func (o *Options) read(args *driver.Args) error {
	for name, v := range map[string]*string{
		"hash": &o.Hash, "lock_prefix": &o.LockPrefix, "username": &o.Username, "password": &o.Password,
	} {
		if s := args.String(name, ""); *v == "" {
			*v = s
		}
	}
	if o.Username == "" {
		o.Username = args.User
	}
	if o.Password == "" {
		o.Password = args.Password
	}
	for name, v := range map[string]*time.Duration{
		"timeout": &o.Timeout, "connect_timeout": &o.ConnectTimeout, "keepalive": &o.KeepAlive,
	} {
		if d := args.Duration(name, 0); *v == 0 {
			*v = d
		}
	}
	for name, v := range map[string]*int{"max_value": &o.MaxValue, "conns": &o.Conns} {
		if n := args.Int(name, 0); *v == 0 {
			*v = n
		}
	}
	switch args.String("protocol", "meta") {
	case "meta":
	case "binary":
		o.Binary = true
	default:
		return &driver.ArgError{Name: "protocol", Problem: "is neither meta nor binary"}
	}
	python, delay := args.Bool("python_lock", false), !args.Bool("tcp_nodelay", true)
	o.PythonLock, o.Nagle = o.PythonLock || python, o.Nagle || delay
	rest, breaker := args.Duration("dead_retry", deadRetry), args.Bool("breaker", true)
	switch {
	case o.NoBreaker || o.Breaker != nil:
	case !breaker:
		o.NoBreaker = true
	default:
		o.Breaker = &proxy.BreakerOptions{Rest: rest}
	}
	return nil
}

// complete returns a copy of o without what stands for a default, or what is
// wrong with it.
func (o *Options) complete() (*Options, error) {
	c := Options{}
	if o != nil {
		c = *o
	}
	setDefault(&c.Hash, DefaultHash)
	setDefault(&c.Timeout, DefaultTimeout)
	setDefault(&c.ConnectTimeout, DefaultTimeout)
	setDefault(&c.LockPrefix, DefaultLockPrefix)
	switch {
	case c.Timeout < -1:
		return nil, fmt.Errorf("option Timeout (timeout) is %v; it is positive, 0 or -1", c.Timeout)
	case c.ConnectTimeout < 0:
		return nil, fmt.Errorf("option ConnectTimeout (connect_timeout) is %v; it is positive or 0", c.ConnectTimeout)
	case c.KeepAlive < -1:
		return nil, fmt.Errorf("option KeepAlive (keepalive) is %v; it is positive, 0 or -1", c.KeepAlive)
	case !fits(c.LockPrefix, 100):
		return nil, errors.New("option LockPrefix (lock_prefix) is longer than 100 bytes, or has a space or control byte")
	case c.MaxValue < 0:
		return nil, fmt.Errorf("option MaxValue (max_value) is %d", c.MaxValue)
	case c.Conns < 0:
		return nil, fmt.Errorf("option Conns (conns) is %d", c.Conns)
	case c.Password != "" && c.Username == "":
		return nil, errors.New("option Password (password) goes with a Username")
	case c.NoBreaker && c.Breaker != nil:
		return nil, errors.New("option Breaker is set together with NoBreaker")
	}
	return &c, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// reach returns an error if no server answers.
func (c *core) reach(ctx context.Context) error {
	errs := make(chan error, len(c.servers))
	for _, s := range c.servers {
		go func() {
			_, err := do1(ctx, s, memcache.Op{Kind: memcache.Get, Key: c.lockPrefix, NoValue: true})
			errs <- err
		}()
	}
	var all []error
	for range c.servers {
		all = append(all, <-errs)
	}
	for _, err := range all {
		if err == nil {
			return nil
		}
	}
	return errors.Join(all...)
}
