package memcached_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// made is a creator that returns v.
func made(v string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return v, nil }
}

func TestProgramStartsWithoutItsServer(t *testing.T) {
	t.Parallel()
	tls, id := startTLS(t)
	socket := &server{Memcached: backendtest.StartMemcachedSocket(t)}
	sasl := startSASL(t, "ann", "secret")
	plain, binary, several := startServer(t), startServer(t), startCluster(t)
	for _, tt := range []struct {
		name, url string
		servers   []*server
	}{
		{"one server", plain.URL(), []*server{plain}},
		{"binary protocol", binary.URL() + "?protocol=binary", []*server{binary}},
		{"several servers", several.url(), several},
		{"TLS", backendtest.WithArgs("memcacheds://"+tls.Addr(), id.Args()...), []*server{tls}},
		{"unix socket", socket.URL(), []*server{socket}},
		{"SASL", "memcached://ann:secret@" + sasl.Addr() + "?protocol=binary", []*server{sasl}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, s := range tt.servers {
				s.Kill()
			}
			// Nobody would live to see the end of the longest pause of such a breaker.
			b, err := driver.Open(t.Context(), backendtest.WithArgs(tt.url, "breaker_cooldown=10m"))
			ok(t, err)
			defer driver.Close(b)
			cache := dogpile.NewCache[string](configured(t, "r", b, &dogpile.Options{Expiration: time.Hour}), nil)
			for i := range 100 {
				if v, err := cache.GetOrCreate(t.Context(), fmt.Sprint(i), made("v")); v != "v" || err != nil {
					t.Fatalf("GetOrCreate without a server = %q, %v", v, err)
				}
			}
			if err := b.Get(t.Context(), []driver.Item{{Key: "k"}}); err == nil {
				t.Error("there is an answer without a server")
			}
			pause(time.Second) // pauses between attempts have grown
			for _, s := range tt.servers {
				s.Start(t)
			}
			began := time.Now()
			eventually(t, "entries to be cached", func() bool {
				_, err := cache.GetOrCreate(t.Context(), "later", made("v"))
				ok(t, err)
				_, found, err := cache.Peek(t.Context(), "later")
				return err == nil && found
			})
			// A second or two; the rest is for a machine that has other things to do.
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("the cache works %v after its server came", took)
			}
		})
	}
}

func TestOpenDoesNotConnect(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"memcached://", "memcacheds://"} {
		b, err := driver.Open(t.Context(), where+"u:"+backendtest.Secret+"@"+nobody)
		ok(t, err)
		defer driver.Close(b)
		err = b.Get(t.Context(), []driver.Item{{Key: "k"}})
		if err == nil || !strings.Contains(err.Error(), "memcached "+nobody+": connection refused") || strings.Contains(err.Error(), backendtest.Secret) {
			t.Errorf("Get without a server = %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := driver.Open(ctx, "memcached://"+nobody); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a context that is done = %v", err)
	}
}

func TestPathsOfSocketsAreUnescaped(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"with space", "100%", "a%20b", "a*2", "a:1", "a,b", "a?b#c", "a@b", "trailing "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := backendtest.StartMemcachedAt(t, t.TempDir()+"/"+name)
			path := strings.ReplaceAll((&url.URL{Path: s.Addr()}).EscapedPath(), "@", "%40")
			for _, args := range []string{"", "?protocol=binary"} {
				b := open(t, "memcached+unix://"+path+args, nil)
				ok(t, b.Set(t.Context(), []driver.Item{{Key: "k", Data: []byte("v")}}))
				wantValue(t, b, "k", "v")
			}
		})
	}
}
