package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/backend/memcached"
)

// smallest is what a memcached has that nobody has given any memory.
const smallest = 64 << 20

// memcached looks at each server.
func (p *Patient) memcached(ctx context.Context, b *memcached.Backend) (checks []Check) {
	asked := time.Now()
	general := b.Stats(ctx, "")
	answered := time.Now()
	settings := b.Stats(ctx, "settings")
	for i, s := range general {
		name := s.Addr
		if len(general) == 1 {
			name = ""
		}
		if s.Err != nil {
			checks = append(checks, refused("server", name, s.Err, "version, memory and eviction could not be looked at: see whether it allows \"stats\""))
			continue
		}
		if s.Stats == nil {
			checks = append(checks, Check{Name: "server", Server: name, Value: "answers; over the binary protocol it tells nothing more"})
			continue
		}
		number := func(name string) int64 {
			n, _ := strconv.ParseInt(s.Stats[name], 10, 64)
			return n
		}
		checks = append(checks, versionOf(name, s.Stats["version"]), memoryOf(name, number("limit_maxbytes"), number("bytes")),
			evictionOf(name, settings[i].Stats["evictions"], number("evictions")))
		if max := settings[i].Stats["item_size_max"]; max != "" {
			checks = append(checks, Check{Name: "largest value", Server: name, Value: max + " bytes"})
		}
		checks = append(checks, Check{Name: "tracking", Server: name, Value: "memcached tells of no changes; copies (near) live for their lag"},
			clock(name, time.Unix(number("time"), 0).Add(time.Second/2), asked, answered, time.Second))
	}
	return checks
}

func versionOf(name, version string) Check {
	c := Check{Name: "version", Server: name, Value: "memcached " + version}
	var major, minor int
	if n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor); n == 2 && (major < 1 || major == 1 && minor < 6) {
		c.Advice = "the meta protocol, with which leases are fenced, came with 1.6: upgrade"
	}
	return c
}

func memoryOf(name string, limit, used int64) Check {
	c := Check{Name: "memory", Server: name, Value: fmt.Sprintf("%s, %s in use", size(limit), size(used))}
	if limit <= smallest {
		c.Advice = "that is what a server has that nobody has given any: start it with -m and as many MiB as the host can spare"
	}
	return c
}

func evictionOf(name, evicts string, evicted int64) Check {
	c := Check{Name: "eviction", Server: name, Value: strings.TrimSpace(evicts)}
	if c.Value == "" {
		c.Value = "unknown"
	}
	if evicted > 0 {
		c.Value += fmt.Sprintf(", %d entries evicted so far", evicted)
	}
	if evicts == "off" {
		c.Advice = "a full server refuses to store: start it without -M"
	}
	return c
}
