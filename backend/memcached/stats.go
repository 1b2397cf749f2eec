package memcached

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

// ServerStats is what one server says about itself.
type ServerStats struct {
	Addr      string            // host:port or unix:/path
	Stats     map[string]string // as memcached's "stats" command names them; nil over the binary protocol
	RoundTrip time.Duration     // how long the server took to answer, without the time to connect
	Err       error             // why it has not answered; nil: it has
}

// Stats asks each server for the statistics of a group: "" for those in general, "settings" for
// what it was started with. A group is of letters, and not "reset", which would change the server:
// another one is an Err of each. It is for looking at the servers: they are asked at the same time,
// each over a connection of its own, and for no longer than ConnectTimeout, so that one that hangs
// keeps no other from being seen. Over the binary protocol a server is asked whether it answers,
// and for no statistics. The result has as many elements as there are servers, in their order,
// and belongs to the caller.
func (b *Backend) Stats(ctx context.Context, group string) []ServerStats {
	all := make([]ServerStats, len(b.core.servers))
	var asking sync.WaitGroup
	for i, s := range b.core.servers {
		all[i].Addr = s.addr
		if all[i].Err = cmp.Or(b.core.begin(ctx), checkGroup(group)); all[i].Err == nil {
			asking.Go(func() { s.stats(ctx, group, &all[i]) })
		}
	}
	asking.Wait()
	return all
}

// checkGroup returns why a group cannot be asked for: it stands as it is in a line of the protocol.
func checkGroup(group string) error {
	other := func(r rune) bool { return r|0x20 < 'a' || r|0x20 > 'z' }
	if strings.ContainsFunc(group, other) || strings.EqualFold(group, "reset") {
		return fmt.Errorf("memcached: there are no statistics %q", group)
	}
	return nil
}

// stats fills in what a server says.
func (s *server) stats(ctx context.Context, group string, to *ServerStats) {
	c, is := s.client.(*memcache.Client)
	if !is {
		began := time.Now()
		to.Err = s.client.Do(ctx, ask())
		to.RoundTrip = time.Since(began)
		return
	}
	var lines []string
	if lines, to.RoundTrip, to.Err = c.Lines(ctx, strings.TrimSpace("stats "+group), "END"); to.Err != nil {
		return
	}
	to.Stats = make(map[string]string)
	for _, line := range lines {
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "STAT "), " ")
		to.Stats[name] = value
	}
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
