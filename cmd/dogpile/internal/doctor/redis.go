package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
)

// redis looks at each server of a Redis or Valkey.
func (p *Patient) redis(ctx context.Context, b *redis.Backend) (checks []Check) {
	client := b.Client()
	if client == nil {
		return nil // roundTrip tells why
	}
	cluster := client.Mode() == rueidis.ClientModeCluster
	nodes := client.Nodes()
	for _, addr := range slices.Sorted(maps.Keys(nodes)) {
		s := server{addr: addr, client: nodes[addr], named: addr}
		if len(nodes) == 1 {
			s.named = ""
		}
		text, err := s.client.Do(ctx, s.client.B().Info().Build()).ToString()
		if err != nil {
			checks = append(checks, refused("server", s.named, err, "allow INFO to this user, so that version, memory and eviction can be looked at"))
		} else {
			s.info = infoOf(text)
		}
		if s.info["role"] == "slave" && cluster {
			continue // reads and writes go to its primary
		}
		if err == nil {
			checks = append(checks, s.version(), s.role(), s.memory(), s.eviction(p))
		}
		checks = append(checks, s.tracking(ctx), s.clock(ctx))
	}
	return slices.DeleteFunc(checks, func(c Check) bool { return c.Name == "" })
}

// server is one server.
type server struct {
	addr, named string // named: in checks
	client      rueidis.Client
	info        map[string]string
}

// infoOf parses the answer to INFO.
func infoOf(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, is := strings.Cut(strings.TrimSpace(line), ":"); is {
			info[name] = value
		}
	}
	return info
}

func (s *server) version() Check {
	name, version := "Redis", s.info["redis_version"]
	if v := s.info["valkey_version"]; v != "" {
		name, version = "Valkey", v
	}
	c := Check{Name: "version", Server: s.named, Value: name + " " + version}
	if mode := s.info["redis_mode"]; mode != "" && mode != "standalone" {
		c.Value += ", " + mode
	}
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < 6 {
		c.Advice = "servers before Redis 6 do not tell of changes: upgrade, so that who waits for a creation need not ask again and again"
	}
	return c
}

func (s *server) role() Check {
	if s.info["role"] != "slave" {
		return Check{}
	}
	return Check{Name: "role", Server: s.named, Value: "replica of " + s.info["master_host"] + ":" + s.info["master_port"],
		Advice: "a replica stores nothing: name its primary, or use redis+sentinel://"}
}

func (s *server) memory() Check {
	used, limit := s.number("used_memory"), s.number("maxmemory")
	c := Check{Name: "maxmemory", Server: s.named}
	if limit == 0 {
		c.Value = fmt.Sprintf("no limit, %s in use", size(used))
		c.Advice = "a cache grows as long as it may: set maxmemory to what the host can spare"
		return c
	}
	c.Value = fmt.Sprintf("%s, %s in use (%d %%)", size(limit), size(used), used*100/limit)
	return c
}

func (s *server) eviction(p *Patient) Check {
	policy := s.info["maxmemory_policy"]
	c := Check{Name: "eviction", Server: s.named, Value: policy}
	if n := s.number("evicted_keys"); n > 0 {
		c.Value += fmt.Sprintf(", %d keys evicted so far", n)
	}
	switch {
	case policy == "noeviction":
		c.Advice = "a full server refuses to store: set maxmemory-policy to allkeys-lru or allkeys-lfu"
	case strings.HasPrefix(policy, "volatile-") && p.Complete && p.Region.Options().Expiration == dogpile.Never:
		c.Advice = "the region's entries have no expiration and are never evicted: set maxmemory-policy to allkeys-lru, or give the region an expiration"
	}
	return c
}

func (s *server) number(name string) int64 {
	n, _ := strconv.ParseInt(s.info[name], 10, 64)
	return n
}

// size writes a number of bytes.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}

// tracking sees whether the server tells of changes, by turning that on for a moment. With OPTIN
// it has nothing to tell.
func (s *server) tracking(ctx context.Context) Check {
	const advice = "without it who waits for a creation asks again and again, and copies (near) live for their lag alone: "
	hello, err := s.client.Do(ctx, s.client.B().Arbitrary("HELLO").Build()).AsMap()
	if err != nil {
		return refused("tracking", s.named, err, advice+"it needs RESP3, which Redis 6 and later speak, and the command HELLO")
	}
	proto := hello["proto"]
	if n, _ := proto.AsInt64(); n < 3 {
		return Check{Name: "tracking", Server: s.named, Value: fmt.Sprintf("the connection speaks RESP%d", n), Advice: advice + "it needs RESP3"}
	}
	err = s.client.Dedicated(func(c rueidis.DedicatedClient) error {
		if err := c.Do(ctx, c.B().Arbitrary("CLIENT", "TRACKING", "ON", "OPTIN").Build()).Error(); err != nil {
			return err
		}
		return c.Do(ctx, c.B().Arbitrary("CLIENT", "TRACKING", "OFF").Build()).Error()
	})
	if err != nil {
		return refused("tracking", s.named, err, advice+"allow CLIENT TRACKING to this user")
	}
	return Check{Name: "tracking", Server: s.named, Value: "allowed, over RESP3"}
}

func (s *server) clock(ctx context.Context) Check {
	asked := time.Now()
	now, err := s.client.Do(ctx, s.client.B().Time().Build()).AsStrSlice()
	answered := time.Now()
	if err == nil && len(now) != 2 {
		err = fmt.Errorf("TIME has answered %d values", len(now))
	}
	if err != nil {
		return refused("clock", s.named, err, "allow TIME to this user, so that clocks can be compared")
	}
	seconds, _ := strconv.ParseInt(now[0], 10, 64)
	micros, _ := strconv.ParseInt(now[1], 10, 64)
	return clock(s.named, time.Unix(seconds, micros*1000), asked, answered, 0)
}
