package memcached_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

func TestOpenTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	const secret = "geheim"
	for _, tt := range []struct{ url, want string }{
		{"memcached://u:" + secret + "@h/x", "there are no databases"},
		{"memcached://h*x", "what follows * is no number"},
		{"memcached://h*0", "weight"},
		{"memcached://h:port", "neither host:port"},
		{"memcached://h,h", "given twice"},
		{"memcached://h,h:11211", "given twice"},
		{"memcached://h?hash=md5", `hash "md5" is unknown`},
		{"memcached://h*2,i?hash=rendezvous", "knows none"},
		{"memcached://h?timeout=soon", `"timeout" is neither a duration`},
		{"memcached://h?timeout=-3", "Timeout (timeout) is -3s"},
		{"memcached://h?connect_timeout=-1", "ConnectTimeout (connect_timeout)"},
		{"memcached://h?keepalive=-2", "KeepAlive (keepalive)"},
		{"memcached://h?lock_prefix=a+b", "LockPrefix (lock_prefix)"},
		{"memcached://h?lock_prefix=" + strings.Repeat("l", 101), "LockPrefix (lock_prefix)"},
		{"memcached://h?protocol=ascii", `"protocol" is neither meta nor binary`},
		{"memcached://h?max_value=-1", "MaxValue (max_value)"},
		{"memcached://h?conns=-1", "Conns (conns)"},
		{"memcached://h?conns=many", `"conns" is not a whole number`},
		{"memcached://h?password=" + secret, "Username"},
		{"memcached://h?ca_file=/x", `"ca_file" is unknown`},
		{"memcacheds://h?ca_file=/nonexistent/x", "ca_file: open"},
		{"memcacheds://h?cert_file=/nonexistent/x", "go together"},
		{"memcached://h?tiemout=1&breaker=maybe", `"tiemout" is unknown`},
		{"memcached+unix://h/s", "has its path and no host"},
		{"memcached+unix://", "has its path and no host"},
		{"memory://", `"memory" is no scheme of this backend`},
	} {
		_, err := memcached.Open(t.Context(), tt.url, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "dogpile: open ") || strings.Contains(err.Error(), secret) {
			t.Errorf("Open(%.60s) = %v, want %q in it", tt.url, err, tt.want)
		}
	}
	_, err := memcached.Open(t.Context(), "memcached://h?timeout=soon&tiemout=1&conns=-1&protocol=x", nil)
	for _, want := range []string{"timeout", "tiemout", "conns", "protocol"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("of several faults, %s is not told of: %v", want, err)
		}
	}
}

func TestNewTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		servers []string
		o       *memcached.Options
	}{
		{nil, nil},
		{[]string{""}, nil},
		{[]string{"h", "h"}, nil},
		{[]string{"h*-1"}, nil},
		{[]string{"h"}, &memcached.Options{Timeout: -2}},
		{[]string{"h"}, &memcached.Options{LockPrefix: "\n"}},
		{[]string{"h"}, &memcached.Options{Hash: "md5"}},
		{[]string{"h"}, &memcached.Options{NoBreaker: true, Breaker: &proxy.BreakerOptions{}}},
	} {
		b, err := memcached.New(tt.servers, tt.o)
		if err == nil || b != nil || !strings.HasPrefix(err.Error(), "dogpile: memcached: ") {
			t.Errorf("New(%q, %+v) = %v, %v", tt.servers, tt.o, b, err)
		}
	}
}

func TestOpenOfServersThatAreNotThere(t *testing.T) {
	t.Parallel()
	_, err := memcached.Open(t.Context(), "memcached://u:geheim@"+nobody, nil)
	if err == nil || strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Open = %v", err)
	}
	// One of several is enough.
	b := open(t, "memcached://"+nobody+","+sharedServer(t).addr, nil)
	ok(t, b.Close())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := memcached.Open(ctx, "memcached://"+sharedServer(t).addr, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a context that is done = %v", err)
	}
}

func TestOpenOfAServerThatHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // and nobody answers
	ok(t, err)
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		_, err := memcached.Open(context.Background(), "memcached://"+l.Addr().String(), nil)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("Open succeeded")
		}
	case <-time.After(20 * time.Second): // the default is 1 s
		t.Error("Open hangs")
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	key := unique(t)
	for _, url := range []string{
		"memcached://" + s.addr + "*3/?hash=ketama_weighted&timeout=24s&connect_timeout=23&lock_prefix=l.&conns=1&tcp_nodelay=false&keepalive=1m&dead_retry=0.5&max_value=1MiB",
		"memcached://" + s.addr + "?breaker=false&python_lock=true&tcp_nodelay=true&keepalive=-1&timeout=never",
		"memcached://" + s.addr + "?protocol=binary&conns=3",
		"MEMCACHED://" + s.addr + "?protocol=meta&conns=None&timeout=None",
	} {
		var b driver.Backend
		eventually(t, url+" to be opened and to answer", func() bool {
			var err error
			if b, err = driver.Open(t.Context(), url); err != nil {
				return false
			}
			return b.Set(t.Context(), []driver.Item{{Key: key, Data: []byte(url)}}) == nil
		})
		wantValue(t, b, key, url)
		caps := driver.CapsOf(b)
		plain := strings.Contains(url, "python_lock") || strings.Contains(url, "binary")
		if caps.Name != "memcached" || !caps.Shared || !caps.Locks || caps.Fenced == plain || caps.TTLUnit != time.Second || caps.Mangle == nil {
			t.Errorf("%s: %+v", url, caps)
		}
		if fmt.Sprint(caps.MaxKeyLen, caps.MaxValue, caps.Timeout) != map[bool]string{true: "248 1048576 47s", false: map[bool]string{
			true: "245 0 0s", false: "245 0 2s"}[strings.Contains(url, "never")]}[strings.Contains(url, "lock_prefix")] {
			t.Errorf("%s: MaxKeyLen %d, MaxValue %d, Timeout %v", url, caps.MaxKeyLen, caps.MaxValue, caps.Timeout)
		}
		ok(t, driver.Close(b))
		if err := b.Get(t.Context(), []driver.Item{{Key: key}}); err == nil {
			t.Error("a closed backend answers")
		}
	}
}

func TestOptionsGoBeforeTheURL(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	b := open(t, "memcached://"+s.addr+"?lock_prefix=url.&max_value=10&python_lock=true", &memcached.Options{LockPrefix: "option.", MaxValue: 20})
	if c := b.Caps(); c.MaxValue != 20 || c.MaxKeyLen != 250-len("option.") || c.Fenced {
		t.Errorf("%+v", c)
	}
	if _, found := driver.As[*memcached.Backend](b); !found || b.Unwrap() != nil {
		t.Error("a Backend does not look like one")
	}
}
