package redis

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	// unknownShard is the name of all shards until it is known which there are, and
	// nobody that of slots that no node has.
	unknownShard = "cluster"
	nobody       = "nobody"

	// A topology that gave cause for doubt is read again, though not more often
	// than asksAgain; any is after oldTopology, since slots that have moved show in
	// no error: the client follows them.
	asksAgain   = 2 * time.Second
	oldTopology = 30 * time.Second

	asked = 3 // nodes at once
)

// topology is which node of a Cluster has which slot. The client knows, but does
// not tell.
type topology struct {
	core  *core
	now   atomic.Pointer[slotMap] // nil: not known yet
	busy  atomic.Bool
	again atomic.Int64 // when it may be read again, in Unix nanoseconds
	old   atomic.Int64 // when it should be
}

// slotMap is what one node has said.
type slotMap struct {
	names []string // of nodes, host:port; the first is nobody
	of    [slots]uint16
}

// Shard names the primary that has the slot of key, as far as is known.
func (c *core) Shard(key string) string {
	if !c.cluster {
		return ""
	}
	m := c.topology.now.Load()
	if m == nil {
		if c.link.now.Load() != nil { // else it is read when a call has the client made
			c.topology.want()
		}
		return unknownShard
	}
	return m.names[m.of[slot(key)]]
}

// want has the topology read in the background, unless it was a moment ago.
func (t *topology) want() {
	if time.Now().UnixNano() < t.again.Load() || !t.busy.CompareAndSwap(false, true) {
		return
	}
	started := t.core.life.Go(func() {
		defer t.busy.Store(false)
		ctx, cancel := t.core.bound(t.core.life.Context())
		defer cancel()
		if cl, err := t.core.link.get(ctx); err == nil {
			t.read(ctx, cl)
		}
		t.again.Store(time.Now().Add(asksAgain).UnixNano())
	})
	if !started {
		t.busy.Store(false)
	}
}

// check has the topology read if it is old. One that was never asked for is not
// read.
func (t *topology) check() {
	if t.now.Load() != nil && time.Now().UnixNano() > t.old.Load() {
		t.want()
	}
}

// read asks some nodes and takes the first answer, because one of them may hang.
// If there is none, what was known stays.
func (t *topology) read(ctx context.Context, client rueidis.Client) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan *slotMap, asked)
	n := 0
	for addr, node := range client.Nodes() { // in any order
		if n == asked {
			break
		}
		n++
		go func() {
			res := node.Do(ctx, node.B().Arbitrary("CLUSTER", "SLOTS").Build())
			m, _ := readSlots(res, addr)
			answers <- m
		}()
	}
	for range n {
		if m := <-answers; m != nil {
			t.now.Store(m)
			t.old.Store(time.Now().Add(oldTopology).UnixNano())
			return
		}
	}
}

var errSlots = errors.New("the answer to CLUSTER SLOTS makes no sense")

// readSlots reads the answer of the node at addr to CLUSTER SLOTS.
func readSlots(res rueidis.RedisResult, addr string) (*slotMap, error) {
	m := &slotMap{names: []string{nobody}}
	number := map[string]uint16{}
	err := eachRange(res, addr, func(first, last int64, name string) {
		n, ok := number[name]
		if !ok {
			n = uint16(len(m.names))
			number[name], m.names = n, append(m.names, name)
		}
		for s := first; s <= last; s++ {
			m.of[s] = n
		}
	})
	if err != nil {
		return nil, err
	}
	if len(m.names) == 1 {
		return nil, errSlots // a node that has been in no Cluster yet
	}
	return m, nil
}

// eachRange calls f for each range of slots in the answer of the node at addr to CLUSTER
// SLOTS, with the name of its primary: a list of ranges, each with its first and last slot
// and its nodes, the primary first.
func eachRange(res rueidis.RedisResult, addr string, f func(first, last int64, name string)) error {
	ranges, err := res.ToArray()
	if err != nil {
		return err
	}
	for i := range ranges {
		r, err := ranges[i].ToArray()
		if err != nil || len(r) < 3 {
			return errSlots
		}
		first, err1 := r[0].AsInt64()
		last, err2 := r[1].AsInt64()
		node, err3 := r[2].ToArray()
		if errors.Join(err1, err2, err3) != nil || first < 0 || last >= slots || len(node) < 2 {
			return errSlots
		}
		f(first, last, nodeName(node, addr))
	}
	return nil
}

// nodeName returns host:port as the client names the node. One that does not know
// its own host is where it was asked.
func nodeName(node []rueidis.RedisMessage, addr string) string {
	host, _ := node[0].ToString()
	port, _ := node[1].AsInt64()
	if host == "" {
		host, _, _ = net.SplitHostPort(addr)
	}
	return net.JoinHostPort(host, strconv.FormatInt(port, 10))
}

// noSlot reports whether the client has refused a batch because it knows no node
// for one of its keys.
func noSlot(results []rueidis.RedisResult) bool {
	return errors.Is(results[0].NonRedisError(), rueidis.ErrNoSlot)
}

// sendApart sends the commands of each shard by themselves, so that keys that no
// node has do not take those of the others with them.
func (c *core) sendApart(ctx context.Context, cl *client, cmds []command, left []int) []rueidis.RedisResult {
	shards := map[string][]int{} // places in left
	for i, at := range left {
		name := c.Shard(cmds[at].few[0])
		shards[name] = append(shards[name], i)
	}
	results := make([]rueidis.RedisResult, len(left))
	done := make(chan struct{})
	for _, places := range shards {
		go func() {
			defer func() { done <- struct{}{} }()
			built := make(rueidis.Commands, len(places))
			for i, p := range places {
				built[i] = cmds[left[p]].build(cl.B())
			}
			for i, res := range cl.DoMulti(ctx, built...) {
				results[places[i]] = res
			}
		}()
	}
	for range shards {
		<-done
	}
	return results
}
