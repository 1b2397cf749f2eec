package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendurl"
	"github.com/dogpile-go/dogpile/internal/neterr"
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

// Open connects to the server that rawURL names and returns a Backend that
// owns the connection. A nil o stands for the zero Options. What both rawURL and
// o say is as o says.
//
// Arguments are the fields of Options in snake case (timeout, lock_prefix,
// poll, breaker, breaker_failures, breaker_cooldown) and what only Open needs:
// connect_timeout (1 s), db, client_name; with TLS ca_file, cert_file, key_file,
// server_name and insecure; with Sentinel sentinel_username and
// sentinel_password. Errors never show a value of the URL but scheme, hosts and
// path.
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
	if err := secure(&co, o, login, load); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if d, ok := ctx.Deadline(); ok {
		co.Dialer.Timeout = min(co.Dialer.Timeout, time.Until(d))
	}
	co.Sentinel.Dialer = co.Dialer
	client, err := rueidis.NewClient(co)
	if err != nil {
		if client != nil {
			client.Close()
		}
		if len(co.InitAddress) == 1 {
			err = neterr.WithoutAddr(err) // the URL, which has it, precedes the error
		}
		return nil, err
	}
	return newBackend(client, o, true), nil
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

// secure fills in who the client is and how its connections are secured, anew for
// each connection.
func secure(co *rueidis.ClientOption, o *Options, login backendurl.Login, load func(*tls.Config) (backendurl.TLSConfig, error)) error {
	credentials := o.Credentials
	if credentials == nil {
		var err error
		if credentials, err = login.Credentials(); err != nil {
			return err
		}
	}
	if credentials != nil {
		timeout := co.Dialer.Timeout
		co.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (c rueidis.AuthCredentials, err error) {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			c.Username, c.Password, err = credentials(ctx)
			return c, err
		}
	}
	config, err := load(o.TLS)
	if err != nil || config == nil {
		return err
	}
	co.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		c, err := config()
		if err != nil {
			return nil, err
		}
		return (&tls.Dialer{NetDialer: d, Config: c}).DialContext(ctx, "tcp", addr)
	}
	return nil
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
		co.DialCtxFn = func(ctx context.Context, path string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		}
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
		co.InitAddress = append(co.InitAddress, withPort(host, port))
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

func withPort(host, port string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}
