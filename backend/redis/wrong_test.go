package redis_test

import (
	"os"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// TestWrongServer has URLs that name a server of another kind. The first call says
// what to write.
func TestWrongServer(t *testing.T) {
	t.Parallel()
	id := backendtest.NewIdentity(t)
	plain, secure, strict, protected := newServer(t), newServer(t), newServer(t), newServer(t, "--requirepass", "secret")
	secure.secure(id, "--tls-auth-clients", "no")
	strict.secure(id)
	for _, s := range []*server{plain, secure, strict, protected} {
		s.Start(t)
	}
	c, w := startCluster(t, nil), startSentinel(t, nil)
	for _, tt := range []struct{ name, url, want string }{
		{"a node of a Cluster", c[0].URL(), "write redis+cluster://"},
		{"another node", c[1].URL(), "write redis+cluster://"},
		{"a Sentinel", w.sentinels[0].URL(), "write redis+sentinel://"},
		{"a server for a Cluster", "redis+cluster://" + plain.addr, "write redis://"},
		{"a server for a Sentinel", "redis+sentinel://" + plain.addr + "/mymaster", "write redis://"},
		{"TLS to a plain port", "rediss://" + plain.addr, "write redis:// "},
		{"TLS to a plain port that wants a password", "rediss://:secret@" + protected.addr, "write redis:// "},
		{"TLS to a plain Cluster", "rediss+cluster://" + c.hosts(), "does not speak TLS"},
		{"a server for a Cluster, among hosts that are down", "redis+cluster://127.0.0.1:1," + plain.addr, "write redis://"},
		{"a TLS port", secure.URL(), "write rediss://"},
		{"a TLS port that wants a certificate", strict.URL(), "write rediss://"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := open(t, tt.url, nil)
			for what, err := range map[string]error{
				"Get":    b.Get(t.Context(), []driver.Item{{Key: "k"}}),
				"Delete": b.Delete(t.Context(), []string{"k"}),
			} {
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "connect to 127.0.0.1:") {
					t.Errorf("%s = %v, want %q and the address in it", what, err, tt.want)
				}
			}
		})
	}
}

func TestClientOfOneNodeOfACluster(t *testing.T) {
	t.Parallel()
	// New does not ask what the server is: keys of other nodes tell.
	c := startCluster(t, nil)
	client := newClient(t, rueidis.ClientOption{InitAddress: []string{c[0].addr}, ForceSingleClient: true, DisableCache: true})
	b, err := redis.New(client, nil)
	ok(t, err)
	defer b.Close()
	err = b.Get(t.Context(), []driver.Item{{Key: keysOf(c, 1)[1][0]}})
	if err == nil || !strings.Contains(err.Error(), "node of a Cluster") || !strings.Contains(err.Error(), "MOVED") {
		t.Errorf("Get = %v", err)
	}
	err = b.Delete(t.Context(), []string{keysOf(c, 1)[0][0]})
	if err == nil || !strings.Contains(err.Error(), "node of a Cluster") {
		t.Errorf("Delete = %v", err)
	}
}

func TestSocketWithASpaceInItsPath(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	dir := s.dir + "/a b%20c"
	ok(t, os.Mkdir(dir, 0o700))
	s.args = append(s.args, "--unixsocket", dir+"/s")
	s.Start(t)
	b := open(t, "redis+unix://"+s.dir+"/a%20b%2520c/s?db=1", nil)
	ok(t, backendtest.Set(t.Context(), b, driver.Item{Key: "k", Data: []byte("v")}))
	backendtest.WantValue(t, b, "k", "v")
}
