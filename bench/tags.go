package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
)

// perTag is how many entries carry a tag in the table of tags.
const perTag = 100

// printTags shows what a server keeps for tags, what it takes to invalidate them, and
// what a hit costs by how its tags are known.
func printTags(o *options) error {
	n := o.sizes[len(o.sizes)-1]
	o.progress(fmt.Sprintf("tags: %d entries", n))
	s, err := startRedis()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := o.printTagBytes(s, n); err != nil {
		return err
	}
	b, err := redis.Open(context.Background(), "redis://"+s.addr, nil)
	if err != nil {
		return err
	}
	defer driver.Close(b)
	m, err := memory.New(nil)
	if err != nil {
		return err
	}
	rows := [][]string{{"hit, one goroutine", "Redis, µs", "memory, ns"}}
	for _, row := range []struct {
		name  string
		known bool
		tags  int
		lag   time.Duration
	}{
		{"no tags", false, 0, 0},
		{"no tags, InvalidationLag 1 s", false, 0, time.Second},
		{"two tags, known beforehand", true, 2, 0},
		{"two tags, told by the entry", false, 2, 0},
		{"two tags, told by the entry, InvalidationLag 1 s", false, 2, time.Second},
	} {
		remote, err := o.timeTagged(b, row.known, row.tags, row.lag)
		if err != nil {
			return err
		}
		local := ""
		if row.lag == 0 {
			d, err := o.timeTagged(m, row.known, row.tags, 0)
			if err != nil {
				return err
			}
			local = fmt.Sprintf("%.0f", d)
		}
		rows = append(rows, []string{row.name, fmt.Sprintf("%.1f", remote/1000), local})
	}
	printTable(o.out, "Hits of tagged entries", rows)
	return nil
}

// openTagged configures a region over b, each time with keys of its own.
func openTagged(b driver.Backend, name string, lag time.Duration) (*dogpile.Region, error) {
	r := dogpile.NewRegion(name)
	return r, r.Configure(b, &dogpile.Options{Expiration: ttl, InvalidationLag: lag})
}

// timeTagged returns the nanoseconds of a hit, the median over the rounds.
func (o *options) timeTagged(b driver.Backend, known bool, tags int, lag time.Duration) (float64, error) {
	ctx := context.Background()
	r, err := openTagged(b, fmt.Sprint("hits", known, tags, lag), lag)
	if err != nil {
		return 0, err
	}
	defer r.Close(ctx)
	var names []string
	for i := range tags {
		names = append(names, fmt.Sprint("tag", i))
	}
	c := dogpile.NewCache[user](r, nil)
	if known {
		c = c.With(dogpile.CacheOptions[user]{Tags: func(string) []string { return names }})
	}
	if _, err := c.GetOrCreate(ctx, "k", func(ctx context.Context) (user, error) {
		dogpile.Creation(ctx).Tag(ctx, names...)
		return someone, nil
	}); err != nil {
		return 0, err
	}
	rd := &reader{region: r, call: func(ctx context.Context, _ int) error { return isSomeone(c.GetOrCreate(ctx, "k", noUser)) }}
	var samples []sample
	for range o.rounds {
		s, _, err := rd.run(o.time)
		if err != nil {
			return 0, err
		}
		samples = append(samples, s)
	}
	return medians(samples).ns, nil
}

// tagBytes is the table of what a server keeps.
type tagBytes struct {
	client rueidis.Client
	n      int
	at     used
	rows   [][]string
}

// add adds a row for what the server keeps more than at the last row.
func (t *tagBytes) add(what string) error {
	now, err := usage(t.client)
	if err != nil {
		return err
	}
	bytes := now.bytes - t.at.bytes
	t.rows = append(t.rows, []string{
		what, strconv.FormatInt(now.keys-t.at.keys, 10),
		fmt.Sprintf("%.1f", float64(bytes)/1e6), fmt.Sprintf("%.0f", float64(bytes)/float64(t.n)),
	})
	t.at = now
	return nil
}

// printTagBytes stores n entries without and with tags and asks the server what it keeps.
func (o *options) printTagBytes(s *server, n int) error {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.addr}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		return err
	}
	defer client.Close()
	t := &tagBytes{client: client, n: n, rows: [][]string{{"in Redis", "keys", "MB", "bytes per entry"}}}
	if t.at, err = usage(client); err != nil {
		return err
	}
	b, err := redis.Open(context.Background(), "redis://"+s.addr, nil)
	if err != nil {
		return err
	}
	defer driver.Close(b)
	r, err := openTagged(b, "users", 0)
	if err != nil {
		return err
	}
	defer r.Close(context.Background())
	if err := fillUsers(dogpile.NewCache[user](r, nil), "plain", n); err != nil {
		return err
	}
	if err := t.add(fmt.Sprintf("%d entries without tags", n)); err != nil {
		return err
	}
	if err := t.addTags(r); err != nil {
		return err
	}
	printTable(o.out, fmt.Sprintf("What Redis keeps for tags: %d entries of a small struct in JSON", n), t.rows)
	return nil
}

// addTags adds rows for entries with tags, and for what is left of the tags' tokens.
func (t *tagBytes) addTags(r *dogpile.Region) error {
	ctx, tags := context.Background(), t.n/perTag
	all := make([]string, tags)
	for i := range all {
		all[i] = fmt.Sprint("tag:", i)
	}
	c := dogpile.NewCache(r, &dogpile.CacheOptions[user]{Tags: func(key string) []string {
		i, _ := strconv.Atoi(strings.TrimPrefix(key, "taged"))
		return []string{all[i%tags]}
	}})
	if err := fillUsers(c, "taged", t.n); err != nil { // keys as long as the others
		return err
	}
	if err := t.add(fmt.Sprintf("%d entries with one of %d tags", t.n, tags)); err != nil {
		return err
	}
	for _, some := range [][]string{all[:1], all} {
		begin := time.Now()
		if err := r.InvalidateTags(ctx, dogpile.Hard, some...); err != nil {
			return err
		}
		took := float64(time.Since(begin).Microseconds()) / 1000
		if err := t.add(fmt.Sprintf("after InvalidateTags of %d in one call, which took %.1f ms", len(some), took)); err != nil {
			return err
		}
	}
	if _, ok, err := c.Get(ctx, userKey("taged", 0)); ok || err != nil {
		return errors.Join(err, errors.New("an entry is there after its tag was invalidated"))
	}
	return nil
}

func userKey(prefix string, i int) string { return fmt.Sprintf("%s%07d", prefix, i) }

// fillUsers stores n entries.
func fillUsers(c *dogpile.Cache[user], prefix string, n int) error {
	const batch = 1000
	for from := 0; from < n; from += batch {
		vals := make(map[string]user, batch)
		for i := from; i < min(n, from+batch); i++ {
			vals[userKey(prefix, i)] = someone
		}
		if err := c.SetMulti(context.Background(), vals); err != nil {
			return err
		}
	}
	return nil
}

// used is what a server keeps.
type used struct{ keys, bytes int64 }

func usage(client rueidis.Client) (u used, err error) {
	ctx := context.Background()
	if u.keys, err = client.Do(ctx, client.B().Dbsize().Build()).AsInt64(); err != nil {
		return u, err
	}
	info, err := client.Do(ctx, client.B().Info().Section("memory").Build()).ToString()
	if err != nil {
		return u, err
	}
	u.bytes, err = infoField(info, "used_memory")
	return u, err
}
