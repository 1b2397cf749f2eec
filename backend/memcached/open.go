package memcached

import (
	"context"
	"errors"
	"strings"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendurl"
)

const (
	scheme     = "memcached"
	schemeTLS  = "memcacheds"
	schemeUnix = "memcached+unix"
)

var opener = backendurl.Opener[Options, *Backend]{Schemes: []string{scheme, schemeTLS, schemeUnix}, Open: open}

func init() { opener.Register() }

// Open returns a Backend over the servers that rawURL names. It checks all that
// rawURL and o say and does not connect: calls do, so that a server which is down
// fails those that need it until it is there. A nil o stands for the zero
// Options. What both rawURL and o say is as o says.
//
// Hosts without a port have 11211, and "*n" after one gives it n times as many
// keys. Without a host there is localhost.
//
// Arguments are the fields of Options in snake case: hash, timeout,
// connect_timeout, lock_prefix, python_lock, protocol, username, password,
// max_value, breaker, breaker_failures, breaker_cooldown; user, which is username,
// and password_file; binary=true, which settings for pylibmc have, and which
// changes nothing here, since the binary protocol has weaker leases than the meta
// one: protocol=binary asks for it; with TLS ca_file, cert_file, key_file, server_name and
// insecure. Files are read now, to tell what is wrong with them, and again for
// each connection. Errors never show a value of the URL but scheme, hosts, path
// and the names of files.
func Open(ctx context.Context, rawURL string, o *Options) (*Backend, error) {
	return opener.FromURL(ctx, rawURL, o)
}

func open(ctx context.Context, args *driver.Args, o *Options) (*Backend, error) {
	load := backendurl.TLS(args, args.Scheme == schemeTLS)
	login, contradiction := backendurl.ReadLogin(args)
	args.Bool("binary", false) // pylibmc's, which says nothing about leases there: see Open
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
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return newBackend(servers, o, secure)
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
