package memcached

import (
	"context"
	"errors"
	"strings"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendurl"
	"github.com/dogpile-go/dogpile/internal/memcache"
	"github.com/dogpile-go/dogpile/internal/neterr"
)

const (
	scheme     = "memcached"
	schemeTLS  = "memcacheds"
	schemeUnix = "memcached+unix"
)

var opener = backendurl.Opener[Options, *Backend]{Schemes: []string{scheme, schemeTLS, schemeUnix}, Open: open}

func init() { opener.Register() }

// Open returns a Backend over the servers that rawURL names, after connecting
// to them. It fails if none can be reached; one that cannot, while others can,
// fails the calls that need it, until it can. A nil o stands for the zero
// Options. What both rawURL and o say is as o says.
//
// Hosts without a port have 11211, and "*n" after one gives it n times as many
// keys. Without a host there is localhost.
//
// Arguments are the fields of Options in snake case: hash, timeout,
// connect_timeout, lock_prefix, python_lock, binary, username, password,
// max_value, breaker, breaker_failures, breaker_cooldown; user, which is username,
// and password_file; with TLS ca_file, cert_file, key_file, server_name and
// insecure. Files are read now, to tell what is wrong with them, and again for
// each connection. Errors never show a value of the URL but scheme, hosts, path
// and the names of files.
func Open(ctx context.Context, rawURL string, o *Options) (*Backend, error) {
	return opener.FromURL(ctx, rawURL, o)
}

func open(ctx context.Context, args *driver.Args, o *Options) (*Backend, error) {
	load := backendurl.TLS(args, args.Scheme == schemeTLS)
	login, contradiction := backendurl.ReadLogin(args)
	setDefault(&o.Username, login.User)
	setDefault(&o.Password, login.Password)
	servers, misplaced := place(args)
	_, invalid := o.complete()
	if login.PasswordFile != "" && o.Username == "" {
		invalid = errors.Join(invalid, &driver.ArgError{Name: "password_file", Problem: "goes with a user"})
	}
	err := errors.Join(args.Err(), contradiction, misplaced, invalid)
	if err != nil {
		return nil, err
	}
	secure, err := load(o.TLS)
	if err != nil {
		return nil, err
	}
	if o.Credentials == nil {
		login.User, login.Password = o.Username, o.Password
		if o.Credentials, err = login.Credentials(); err != nil {
			return nil, err
		}
	}
	b, err := newBackend(servers, o, secure)
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
		return []string{unix + path + "*1"}, nil // with a weight, since the path may have a *
	case path != "":
		return nil, errors.New("there are no databases for a path to name")
	case len(args.Hosts) == 0:
		return []string{"localhost"}, nil
	}
	return args.Hosts, nil
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
	if of := (*memcache.ServerError)(nil); len(all) == 1 && errors.As(all[0], &of) {
		return neterr.WithoutAddr(of.Err) // the URL, which has the address, precedes it
	}
	return errors.Join(all...)
}
