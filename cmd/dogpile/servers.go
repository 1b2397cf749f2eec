package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
)

// servers looks at the servers of a backend.
type servers struct {
	*opened
	before  map[string]seenServer // as they were the last time that they answered
	failing map[string]time.Time  // since when they have not
}

// seenServer is what a server has said of itself.
type seenServer struct {
	name      string
	at        time.Time
	err       error         // why it has said nothing
	failing   time.Time     // since when, if err
	roundTrip time.Duration // of a call that does nothing
	told      bool          // it tells the rest
	counts    [4]float64    // ops, hits, misses and evictions since it was started
	perSecond [4]float64    // the same in a second
	rates     bool          // there was another look before
	used, max float64       // bytes; max 0: no limit
	clients   float64
}

// What the counts of a server are.
const (
	ops = iota
	hits
	misses
	evictions
)

// look asks all servers, and compares what they say to what they said before.
func (s *servers) look(ctx context.Context) []seenServer {
	began := time.Now()
	seen := s.ask(ctx)
	if s.before == nil {
		s.before, s.failing = make(map[string]seenServer), make(map[string]time.Time)
	}
	for i := range seen {
		s.compare(&seen[i], began)
	}
	return seen
}

// ask asks all servers at once: one that hangs takes the time of no other.
func (s *servers) ask(ctx context.Context) (seen []seenServer) {
	if b, is := driver.As[*memcached.Backend](s.Backend()); is {
		return askMemcached(ctx, b.Stats(ctx, ""))
	}
	ping := func() {
		began := time.Now()
		err := inTime(ctx, s.Ping(ctx))
		seen = []seenServer{{name: s.caps.Name, at: time.Now(), err: err, roundTrip: time.Since(began)}}
	}
	b, is := driver.As[*redis.Backend](s.Backend())
	if !is {
		ping()
		return seen
	}
	client := b.Client()
	if client == nil { // it has not connected yet
		ping()
		if client = b.Client(); client == nil {
			return seen
		}
		return askRedis(ctx, client.Nodes())
	}
	// A client that is of no use any more is replaced by calls of the backend alone.
	var pinging sync.WaitGroup
	pinging.Go(ping)
	nodes := askRedis(ctx, client.Nodes())
	pinging.Wait()
	return nodes
}

func (s *servers) compare(now *seenServer, asked time.Time) {
	if now.err != nil {
		if s.failing[now.name].IsZero() {
			s.failing[now.name] = asked
		}
		now.failing = s.failing[now.name]
		return
	}
	delete(s.failing, now.name)
	before, known := s.before[now.name]
	s.before[now.name] = *now
	now.rates = known && now.told && before.told && now.at.After(before.at)
	if !now.rates {
		return
	}
	for i, n := range now.counts {
		if n < before.counts[i] {
			before.counts = [4]float64{} // it has begun anew, also with what it counts more of by now
			break
		}
	}
	for i, n := range now.counts {
		now.perSecond[i] = (n - before.counts[i]) / now.at.Sub(before.at).Seconds()
	}
}

func askRedis(ctx context.Context, nodes map[string]rueidis.Client) []seenServer {
	seen := make([]seenServer, len(nodes))
	var all sync.WaitGroup
	for i, addr := range slices.Sorted(maps.Keys(nodes)) {
		all.Go(func() { seen[i] = askRedisServer(ctx, addr, nodes[addr]) })
	}
	all.Wait()
	return seen
}

func askRedisServer(ctx context.Context, addr string, client rueidis.Client) seenServer {
	s := seenServer{name: addr}
	began := time.Now()
	s.err = inTime(ctx, withoutCommand(client.Do(ctx, client.B().Ping().Build()).Error()))
	s.at, s.roundTrip = time.Now(), time.Since(began)
	if s.err != nil {
		return s
	}
	text, err := client.Do(ctx, client.B().Info().Build()).ToString()
	if err != nil {
		return s // this user may not ask for it
	}
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		info[name] = value
	}
	s.tell(info, []string{"total_commands_processed"}, "keyspace_hits", "keyspace_misses", "evicted_keys", "used_memory", "maxmemory", "connected_clients")
	return s
}

func askMemcached(ctx context.Context, all []memcached.ServerStats) (seen []seenServer) {
	for _, a := range all {
		s := seenServer{name: a.Addr, at: time.Now(), err: inTime(ctx, a.Err), roundTrip: a.RoundTrip}
		if a.Stats != nil {
			s.tell(a.Stats, []string{"cmd_get", "cmd_set", "cmd_touch", "cmd_meta", "delete_hits", "delete_misses"},
				"get_hits", "get_misses", "evictions", "bytes", "limit_maxbytes", "curr_connections")
		}
		seen = append(seen, s)
	}
	return seen
}

// tell takes what a server tells, by the names that it has for it.
func (s *seenServer) tell(stats map[string]string, calls []string, hit, miss, evicted, used, max, clients string) {
	number := func(name string) float64 {
		n, _ := strconv.ParseFloat(stats[name], 64)
		return n
	}
	s.told = true
	for _, name := range calls {
		s.counts[ops] += number(name)
	}
	s.counts[hits], s.counts[misses], s.counts[evictions] = number(hit), number(miss), number(evicted)
	s.used, s.max, s.clients = number(used), number(max), number(clients)
}

var serverColumns = []column{{"server", true}, {name: "round trip"}, {name: "ops/s"}, {name: "hits"}, {name: "used"}, {name: "of"}, {name: "evicted/s"}, {name: "clients"}}

func serverRows(seen []seenServer) (rows []row) {
	for i := range seen {
		rows = append(rows, row{cells: seen[i].cells()})
	}
	return rows
}

// cells are what is known of a server, in the order of serverColumns.
func (s *seenServer) cells() []cell {
	cells := []cell{{text: printable(s.name)}, {"-", -1}, {"-", -1}, {"-", -1}, {"-", -1}, {"-", -1}, {"-", -1}, {"-", -1}}
	if s.err != nil {
		cells[1].text = "no answer"
		return cells
	}
	cells[1] = cell{brief(s.roundTrip), s.roundTrip.Seconds()}
	if !s.told {
		return cells
	}
	if s.rates {
		cells[2], cells[3] = perSecond(s.perSecond[ops]), share(s.perSecond[hits], s.perSecond[hits]+s.perSecond[misses])
		cells[6] = perSecond(s.perSecond[evictions])
	}
	cells[4], cells[5] = cell{bytesOf(int64(s.used)), s.used}, cell{"no limit", 0}
	if s.max > 0 {
		cells[5] = cell{bytesOf(int64(s.max)), s.max}
	}
	cells[7] = cell{strconv.Itoa(int(s.clients)), s.clients}
	return cells
}

// line is the same as one line.
func (s *seenServer) line() string {
	cells := s.cells()
	parts := []string{cells[0].text}
	for i, c := range cells[1:] {
		if c.text != "-" {
			parts = append(parts, serverColumns[i+1].name+" "+c.text)
		}
	}
	return strings.Join(parts, "  ")
}
