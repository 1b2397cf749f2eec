package main_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// startCluster starts a Redis Cluster of three masters, none of which takes another for dead.
func startCluster(t *testing.T) (url string) {
	t.Helper()
	var servers []*server
	var addrs []string
	do := func(s *server, command ...string) string {
		t.Helper()
		said, err := s.client.Do(t.Context(), s.client.B().Arbitrary(command...).Build()).ToString()
		ok(t, err)
		return said
	}
	var bus string // of the first
	for i := range 3 {
		own := backendtest.FreePort(t)
		s := startRedis(t, "--cluster-enabled", "yes", "--cluster-port", own, "--cluster-node-timeout", "60000")
		do(s, "CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*16384/3), fmt.Sprint((i+1)*16384/3-1))
		do(s, "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
		if i == 0 {
			bus = own
		} else {
			host, port, _ := strings.Cut(servers[0].addr, ":")
			do(s, "CLUSTER", "MEET", host, port, bus)
		}
		servers, addrs = append(servers, s), append(addrs, s.addr)
	}
	for _, s := range servers {
		eventually(t, "the cluster to form", func() bool {
			info := do(s, "CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return "redis+cluster://:hunter2@" + strings.Join(addrs, ",") + "/?" + patient
}

// overTLS starts a Redis, and returns its URL for connections with TLS.
func overTLS(t *testing.T) (url string) {
	t.Helper()
	id, port := backendtest.NewIdentity(t), backendtest.FreePort(t)
	startRedis(t, "--tls-port", port, "--tls-cert-file", id.Cert, "--tls-key-file", id.Key, "--tls-ca-cert-file", id.CA)
	return "rediss://:hunter2@127.0.0.1:" + port + "/0?" + patient + "&" + strings.Join(id.Args(), "&")
}

// bySentinel starts a Redis that a sentinel tells of, and returns the URL of that.
func bySentinel(t *testing.T) (url string) {
	t.Helper()
	host, master, _ := strings.Cut(startRedis(t).addr, ":")
	port, dir := backendtest.FreePort(t), t.TempDir()
	conf := write(t, dir, "sentinel.conf", fmt.Sprintf("sentinel monitor mymaster %s %s 1\nsentinel auth-pass mymaster hunter2\nsentinel down-after-milliseconds mymaster 60000\n", host, master))
	p := &backendtest.Process{
		Command: func() []string {
			return []string{"redis-sentinel", conf, "--port", port, "--bind", "127.0.0.1", "--dir", dir}
		},
		Ready: func() bool {
			conn, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err == nil {
				conn.Close()
			}
			return err == nil
		},
	}
	t.Cleanup(p.Kill)
	p.Start(t)
	return "redis+sentinel://:hunter2@127.0.0.1:" + port + "/mymaster/0?" + patient
}

// TestOtherKindsOfRedis: what looks at a server looks at each of a Cluster, at the master that a
// Sentinel names, and over TLS.
func TestOtherKindsOfRedis(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		start   func(t *testing.T) string
		servers int
	}{"a Cluster of three masters": {startCluster, 3}, "TLS": {overTLS, 1}, "Sentinel": {bySentinel, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			looks(t, row.start(t), row.servers)
		})
	}
}

// looks uses the commands on the servers at url.
func looks(t *testing.T, url string, servers int) {
	t.Helper()
	cache := dogpile.NewCache[int](regionAt(t, url, "users", &dogpile.Options{CreateTimeout: dogpile.Never}), nil)
	const n = 30 // on all servers of a Cluster
	keys := make(map[string]bool)
	for i := range n {
		ok(t, cache.Set(t.Context(), fmt.Sprint("k", i), i))
		keys[fmt.Sprint("k", i)] = true
	}
	args := []string{"--backend", url, "--region", "users", "--timeout", "1m"}
	for key := range keys {
		if got := quietly(t, with([]string{"get", key}, args...)...); "k"+got != key {
			t.Errorf("get %s: %q", key, got)
		}
	}
	listed := make(map[string]bool)
	for line := range strings.Lines(quietly(t, with([]string{"ls", "--json"}, args...)...)) {
		listed[object(t, line)["key"].(string)] = true
	}
	if !maps.Equal(listed, keys) {
		t.Errorf("ls: %d keys, %v", len(listed), slices.Sorted(maps.Keys(listed)))
	}
	_, err := cache.GetOrCreate(t.Context(), "made", func(context.Context) (int, error) {
		if got := object(t, quietly(t, with([]string{"locks", "--json"}, args...)...)); got["key"] != "made" {
			t.Errorf("locks: %v", got)
		}
		return 1, nil
	})
	ok(t, err)
	_, values := diagnosed(t, args[:4]...)
	if !strings.HasPrefix(values["version"], "Redis ") && !strings.HasPrefix(values["version"], "Valkey ") || values["storing"] != "an entry was stored, read and removed" {
		t.Errorf("doctor: %q", values)
	}
	told := object(t, quietly(t, with([]string{"top", "--once", "--json", "--interval", "200ms"}, args...)...))["servers"].([]any)
	if len(told) != servers {
		t.Errorf("top: %v", told)
	}
	if got := quietly(t, with([]string{"rm", "k0", "k1", "k2", "gone"}, args...)...); strings.Count(got, "deleted") != 3 {
		t.Errorf("rm: %q", got)
	}
}
