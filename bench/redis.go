package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

const lease = 10 * time.Second

// onRedis calls print with the setting of a Redis server that is empty, and
// those of clients that the filter lets pass.
func onRedis(o *options, clients []client, print func(s setting, clients []client) error) error {
	var chosen []client
	for _, c := range clients {
		if o.filter.MatchString(c.name) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return nil
	}
	s, err := startRedis()
	if err != nil {
		return err
	}
	defer s.Close()
	return print(setting{Addr: s.addr, Lease: lease, server: strconv.Itoa(s.cmd.Process.Pid)}, chosen)
}

// printRedisHits is without rueidisaside, which answers from its own memory, and
// without the lock, which has no part in a hit.
func printRedisHits(o *options) error {
	clients := []client{rueidisGet, rueidisMGET, goredisGet, dogpileOnRedis, dogpileLagging, goredisCache, gocacheOnRedis, pythonOnRedis}
	return onRedis(o, clients, func(s setting, clients []client) error {
		return printRemoteHits(o, "Hits on Redis", s, clients)
	})
}

func printRedisStampede(o *options) error {
	clients := []client{dogpileOnRedis, aside, lockByHand, goredisCache, gocacheOnRedis, pythonOnRedis}
	return onRedis(o, clients, func(s setting, clients []client) error {
		return printRemoteStampede(o, "Stampede on Redis", s, clients)
	})
}

func printRedisWake(o *options) error {
	clients := []client{dogpileOnRedis, aside, lockByHand, pythonOnRedis}
	return onRedis(o, clients, func(s setting, clients []client) error {
		return printRemoteWake(o, "Wake-up on Redis", s, clients)
	})
}

// printRedisHolder does it twice, because Redis tells of a key that has expired
// only when it comes upon it.
func printRedisHolder(o *options) error {
	const others = 20_000
	clients := []client{dogpileOnRedis, aside, lockByHand, pythonOnRedis}
	return onRedis(o, clients, func(s setting, clients []client) error {
		s.Lease = time.Second
		if err := printRemoteHolder(o, "Dead holder on Redis, no other keys", s, clients); err != nil {
			return err
		}
		if err := fillRedis(s.Addr, others); err != nil {
			return err
		}
		return printRemoteHolder(o, fmt.Sprintf("Dead holder on Redis, %d other keys that have a TTL", others), s, clients)
	})
}

// fillRedis stores n keys that have a TTL.
func fillRedis(addr string, n int) error {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		return err
	}
	defer c.Close()
	cmds := make(rueidis.Commands, n)
	for i := range cmds {
		cmds[i] = c.B().Set().Key(fmt.Sprint("other:", i)).Value("").Ex(ttl).Build()
	}
	for _, res := range c.DoMulti(context.Background(), cmds...) {
		if err := res.Error(); err != nil {
			return err
		}
	}
	return nil
}
