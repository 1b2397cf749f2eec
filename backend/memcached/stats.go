package memcached

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

// ServerStats is what one server says about itself.
type ServerStats struct {
	Addr  string            // host:port or unix:/path
	Stats map[string]string // as memcached's "stats" command names them
	Err   error             // why there are none; nil: there are
}

// Stats asks each server for the statistics of a group: "" for those in general, "settings" for
// what it was started with. It is for looking at the servers, and makes a connection of its
// own to each, one after the other. A server that cannot be asked has an Err in the result,
// and so has each over the binary protocol. The caller owns the result.
func (b *Backend) Stats(ctx context.Context, group string) []ServerStats {
	var all []ServerStats
	for _, s := range b.core.servers {
		stats, err := s.stats(ctx, group)
		all = append(all, ServerStats{s.addr, stats, err})
	}
	return all
}

func (s *server) stats(ctx context.Context, group string) (map[string]string, error) {
	c, is := s.client.(*memcache.Client)
	if !is {
		return nil, errors.New("memcached: statistics are not asked for over the binary protocol")
	}
	lines, err := c.Lines(ctx, strings.TrimSpace("stats "+group), "END")
	if err != nil {
		return nil, err
	}
	stats := make(map[string]string)
	for _, line := range lines {
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "STAT "), " ")
		stats[name] = value
	}
	return stats, nil
}

// Left returns what is left of the TTL of the entry under key, in seconds; 0 if it has none. known
// is false if there is no entry, and over the binary protocol, which does not tell.
func (b *Backend) Left(ctx context.Context, key string) (left time.Duration, known bool, err error) {
	if err := b.core.begin(ctx); err != nil {
		return 0, false, err
	}
	ops := []memcache.Op{{Kind: memcache.Get, Key: key, NoValue: true, AskLeft: true}}
	if err := b.core.at(key).Do(ctx, ops); err != nil {
		return 0, false, failed(err)
	}
	if ops[0].Err != nil {
		return 0, false, failed(ops[0].Err)
	}
	return time.Duration(max(ops[0].Left, 0)) * time.Second, ops[0].Left != 0, nil
}
