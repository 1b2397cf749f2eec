package memcached_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func TestOpenTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	backendtest.OpenTells(t, func(url string) error { _, err := memcached.Open(t.Context(), url, nil); return err }, append(backendtest.FaultsOf("memcached", "memcacheds"), []backendtest.Fault{
		{URL: "memcached://u:" + backendtest.Secret + "@h/x", Want: "there are no databases"},
		{URL: "memcached://h*x", Want: "what follows * is no number"},
		{URL: "memcached://h*0", Want: "weight"},
		{URL: "memcached://h:port", Want: "neither host:port"},
		{URL: "memcached://h,h", Want: "given twice"},
		{URL: "memcached://h,h:11211", Want: "given twice"},
		{URL: "memcached://h?hash=md5", Want: `hash "md5" is unknown`},
		{URL: "memcached://h*2,i?hash=rendezvous", Want: "knows none"},
		{URL: "memcached://h?connect_timeout=-1", Want: "ConnectTimeout (connect_timeout)"},
		{URL: "memcached://h?lock_prefix=a+b", Want: "LockPrefix (lock_prefix)"},
		{URL: "memcached://h?lock_prefix=" + strings.Repeat("l", 101), Want: "LockPrefix (lock_prefix)"},
		{URL: "memcached://h?binary=ascii", Want: `"binary" is neither true nor false`},
		{URL: "memcached://h?protocol=ascii", Want: "Protocol (protocol)"},
		{URL: "memcached://h?max_value=-1", Want: "MaxValue (max_value)"},
		{URL: "memcached://h?max_value=much", Want: `"max_value" is not a whole number`},
		{URL: "memcached://h?password=" + backendtest.Secret, Want: "Username"},
		{URL: "memcached://h?password_file=/nonexistent/x", Want: `"password_file" goes with a user`},
		{URL: "memcached://u@h?password_file=/nonexistent/x", Want: "password_file: open /nonexistent/x"},
		{URL: "memcached://u@h?user=" + backendtest.Secret, Want: `"user" differs`},
		{URL: "memcached://u@h?username=" + backendtest.Secret, Want: `"username" differs`},
		{URL: "memcached://u:p@h?password=" + backendtest.Secret, Want: `"password" differs`},
		{URL: "memcached+unix://h/s", Want: "has its path and no host"},
		{URL: "memcached+unix://", Want: "has its path and no host"},
	}...))
	_, err := memcached.Open(t.Context(), "memcached://h?timeout=soon&tiemout=1&max_value=-1&binary=x", nil)
	for _, want := range []string{"timeout", "tiemout", "max_value", "binary"} {
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
	} {
		b, err := memcached.New(tt.servers, tt.o)
		if err == nil || b != nil || !strings.HasPrefix(err.Error(), "dogpile: memcached: ") {
			t.Errorf("New(%q, %+v) = %v, %v", tt.servers, tt.o, b, err)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	key := unique(t)
	for _, url := range []string{
		"memcached://" + s.Addr() + "*3/?hash=ketama_weighted&timeout=24s&connect_timeout=23&lock_prefix=l.&breaker_cooldown=0.5&max_value=1MiB",
		"memcached://" + s.Addr() + "?breaker=false&python_lock=true&timeout=never",
		"memcached://" + s.Addr() + "?protocol=binary",
		"MEMCACHED://" + s.Addr() + "?binary=false&max_value=None&timeout=None",
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
		plain := strings.Contains(url, "python_lock=true") || strings.Contains(url, "protocol=binary")
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

// Settings of a Python program say binary=True, for pylibmc. Leases stay fenced.
func TestPylibmcsBinaryKeepsTheFence(t *testing.T) {
	t.Parallel()
	b, err := driver.OpenWith(t.Context(), sharedServer(t).URL(), map[string]string{"binary": "True"})
	ok(t, err)
	defer driver.Close(b)
	if !driver.CapsOf(b).Fenced {
		t.Error("leases are not fenced")
	}
	key := unique(t)
	ok(t, b.Set(t.Context(), []driver.Item{{Key: key, Data: []byte("v")}}))
	wantValue(t, b, key, "v")
}

func TestOptionsGoBeforeTheURL(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	b := open(t, "memcached://"+s.Addr()+"?lock_prefix=url.&max_value=10&python_lock=true", &memcached.Options{LockPrefix: "option.", MaxValue: 20})
	if c := b.Caps(); c.MaxValue != 20 || c.MaxKeyLen != 250-len("option.") || c.Fenced {
		t.Errorf("%+v", c)
	}
	if _, found := driver.As[*memcached.Backend](b); !found {
		t.Error("a Backend does not look like one")
	}
}
