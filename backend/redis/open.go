package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendurl"
)

// kind is what a URL's scheme says.
type kind struct {
	where string // "", "sentinel", "cluster", "unix"
	tls   bool
}

var schemes = map[string]kind{
	"redis":            {},
	"valkey":           {},
	"rediss":           {tls: true},
	"valkeys":          {tls: true},
	"unix":             {where: "unix"},
	"redis+unix":       {where: "unix"},
	"valkey+unix":      {where: "unix"},
	"redis+sentinel":   {where: "sentinel"},
	"valkey+sentinel":  {where: "sentinel"},
	"rediss+sentinel":  {where: "sentinel", tls: true},
	"valkeys+sentinel": {where: "sentinel", tls: true},
	"redis+cluster":    {where: "cluster"},
	"valkey+cluster":   {where: "cluster"},
	"rediss+cluster":   {where: "cluster", tls: true},
	"valkeys+cluster":  {where: "cluster", tls: true},
}

var opener = backendurl.Opener[Options, *Backend]{Schemes: slices.Sorted(maps.Keys(schemes)), Open: open}

func init() { opener.Register() }

// Open returns a Backend over the server that rawURL names, and does not connect
// to it: the first call does, and those that come while the server cannot be
// reached return why. What is wrong with the URL, o or a file that is named there
// is told at once. The Backend owns its connections. A nil o stands for the zero
// Options. What both rawURL and o say is as o says.
//
// The connections are replaced when the server says that it is a replica, or loads
// its data, or knows the client no longer: behind a name that has moved to another
// server, only new connections reach that.
//
// Arguments are the fields of Options in snake case (timeout, lock_prefix,
// poll, breaker, breaker_failures, breaker_cooldown) and what only Open needs:
// connect_timeout (1 s), db, client_name; user, password and password_file; with
// TLS ca_file, cert_file, key_file, server_name and insecure; with Sentinel
// sentinel_username and sentinel_password. Files are read again for each
// connection. Errors never show a value of the URL but scheme, hosts and path.
func Open(ctx context.Context, rawURL string, o *Options) (*Backend, error) {
	return opener.FromURL(ctx, rawURL, o)
}

func open(ctx context.Context, args *driver.Args, o *Options) (*Backend, error) {
	k := schemes[args.Scheme]
	co := clientOption(args, k, o)
	load := backendurl.TLS(args, k.tls)
	login, contradiction := backendurl.ReadLogin(args)
	err := errors.Join(args.Err(), contradiction, o.check(), place(args, k, &co))
	if err == nil && k.where == "unix" && o.TLS != nil {
		err = errors.New("a unix socket has no TLS")
	}
	if err != nil {
		return nil, err
	}
	d := &dialer{kind: k, option: co, timeout: co.Dialer.Timeout, credentials: o.Credentials}
	if d.credentials == nil {
		if d.credentials, err = login.Credentials(); err != nil {
			return nil, err
		}
	}
	if d.secure, err = load(o.TLS); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := newCore(o, k.where == "cluster", d.client, nil)
	c.link.to = d.hosts()
	return newBackend(c, o), nil
}

func clientOption(args *driver.Args, k kind, o *Options) rueidis.ClientOption {
	co := rueidis.ClientOption{
		ClientName:        args.String("client_name", ""),
		SelectDB:          args.Int("db", 0),
		ForceSingleClient: k.where == "" || k.where == "unix",
		// A call that failed is not made again by itself: its caller is to know
		// within the timeout.
		DisableRetry: true,
		// The client's own cache is not used; waiting has a connection where
		// tracking is turned on.
		DisableCache: true,
		// A moment's wait lets commands of many goroutines travel in one write,
		// which nearly doubles what 256 of them get done.
		MaxFlushDelay: 20 * time.Microsecond,
	}
	co.Dialer.Timeout = args.Duration("connect_timeout", DefaultTimeout)
	switch {
	case o.Timeout == 0:
		co.ConnWriteTimeout = DefaultTimeout
	case o.Timeout > 0:
		co.ConnWriteTimeout = o.Timeout
	}
	if k.where == "sentinel" {
		co.Sentinel.Username = args.String("sentinel_username", "")
		co.Sentinel.Password = args.String("sentinel_password", "")
		// 1. The connection to Sentinel breaks.  2. Sentinel announces another
		// master, to nobody.  3. The connection is there again, and the client goes
		// on with the old master. So it asks from time to time as well.
		co.Sentinel.TopologyRefreshInterval = 5 * time.Second
	}
	return co
}

// place fills in hosts, database and the name of the master.
func place(args *driver.Args, k kind, co *rueidis.ClientOption) error {
	path := strings.TrimPrefix(args.Path, "/")
	port := "6379"
	switch k.where {
	case "unix":
		if len(args.Hosts) > 0 || path == "" {
			return errors.New("a URL of a unix socket has the path of the socket and no host: redis+unix:///run/redis.sock?db=0")
		}
		co.InitAddress = []string{args.Path}
		return nil
	case "sentinel":
		port = "26379"
		co.Sentinel.MasterSet, path, _ = strings.Cut(path, "/")
		if co.Sentinel.MasterSet == "" {
			return errors.New("a URL of Sentinel names the master in its path: redis+sentinel://h1,h2/mymaster/0")
		}
	case "cluster":
		if co.SelectDB != 0 || path != "" {
			return errors.New("a Cluster has no databases")
		}
	default:
		if len(args.Hosts) > 1 {
			return errors.New("several hosts are for redis+sentinel and redis+cluster")
		}
	}
	hosts := args.Hosts
	if len(hosts) == 0 {
		hosts = []string{"localhost"}
	}
	for _, host := range hosts {
		addr, err := withPort(host, port)
		if err != nil {
			return err
		}
		co.InitAddress = append(co.InitAddress, addr)
	}
	if path != "" {
		db, err := strconv.Atoi(path)
		if err != nil || db < 0 || co.SelectDB != 0 && co.SelectDB != db {
			return errors.New("the path of the URL is no database number, or another one than db")
		}
		co.SelectDB = db
	}
	if co.SelectDB < 0 {
		return &driver.ArgError{Name: "db", Problem: "is negative"}
	}
	return nil
}

// withPort returns host:port, with port if the host has none of its own.
func withPort(host, port string) (string, error) {
	name, own, err := net.SplitHostPort(host)
	if err != nil {
		name, own = host, port
		if inner, found := strings.CutSuffix(host, "]"); found {
			name = strings.TrimPrefix(inner, "[")
		}
	}
	if n, err := strconv.Atoi(own); err != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("%q has no port number between 1 and 65535", host)
	}
	_, err = netip.ParseAddr(name)
	if err != nil && strings.ContainsAny(name, ":[] ") {
		return "", fmt.Errorf("%q is neither a host nor host:port", host)
	}
	return net.JoinHostPort(name, own), nil
}
