package redis_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// A question that is sent after a writer had its reply is answered behind the announcement of
// the write, on the same connection: what proves copies of entries right.
func TestAnAnswerComesBehindTheAnnouncementsOfWritesThatWereRepliedTo(t *testing.T) {
	threads := []string{"--io-threads", "2", "--io-threads-do-reads", "yes"}
	for _, c := range []struct {
		name     string
		tracking string
		args     []string
	}{
		{name: "default tracking", tracking: "ON"},
		{name: "broadcasting", tracking: "ON BCAST PREFIX order:"},
		{name: "default tracking with threads for sockets", tracking: "ON", args: threads},
		{name: "broadcasting with threads for sockets", tracking: "ON BCAST PREFIX order:", args: threads},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startServer(t, c.args...)
			o := newOrder(t, s, c.tracking)
			if c.args != nil {
				// The server has threads at work only while many clients are to be written to.
				defer o.crowd(t, s, 6)()
			}
			answers, early := o.rounds(t, 5000, true)
			t.Logf("%d answers", answers)
			if answers == 0 || early != 0 {
				t.Errorf("%d of %d answers came before the announcement", early, answers)
			}
			if c.args != nil && s.number(t, "stats", "io_threaded_writes_processed") == 0 {
				t.Error("the server wrote nothing with threads")
			}
		})
	}
}

// What the rounds count is there to be counted: an answer to a question from before the write
// says nothing of the write.
func TestAnAnswerToAnEarlierQuestionProvesNothing(t *testing.T) {
	o := newOrder(t, startServer(t), "ON")
	if answers, early := o.rounds(t, 5000, false); early == 0 {
		t.Errorf("the announcements of all %d writes were there before anything was asked", answers)
	}
}

// order is a connection that tracks keys, and writers that change them.
type order struct {
	tracker rueidis.DedicatedClient
	writers []rueidis.Client
	heard   []atomic.Int64 // announcements of the writers' keys
}

func newOrder(t *testing.T, s *server, tracking string) *order {
	t.Helper()
	single := rueidis.ClientOption{InitAddress: []string{s.addr}, ForceSingleClient: true, DisableCache: true}
	o := &order{heard: make([]atomic.Int64, 4)}
	for range o.heard {
		o.writers = append(o.writers, newClient(t, single))
	}
	tracker, release := newClient(t, single).Dedicate()
	t.Cleanup(release)
	tracker.SetOnInvalidations(func(keys []rueidis.RedisMessage) {
		for _, m := range keys {
			key, _ := m.ToString()
			for n := range o.heard {
				if key == o.key(n) {
					o.heard[n].Add(1)
				}
			}
		}
	})
	words := strings.Fields(tracking)
	ok(t, tracker.Do(t.Context(), tracker.B().Arbitrary("CLIENT", "TRACKING").Args(words...).Build()).Error())
	o.tracker = tracker
	return o
}

func (o *order) key(n int) string { return fmt.Sprint("order:", n) }

// rounds has each writer change its key so many times, and returns how many answers to
// questions there were, and how many of them before the announcement of the change. There
// are fewer rounds where they take long: threads of a server wait for work in loops, and
// hardly get to work on a machine that has fewer cores.
func (o *order) rounds(t *testing.T, each int, askAfter bool) (answers, early int64) {
	ctx, begun := t.Context(), time.Now()
	var asked, missing atomic.Int64
	var all sync.WaitGroup
	for n, w := range o.writers {
		all.Go(func() {
			ask := func() error { return o.tracker.Do(ctx, o.tracker.B().Ping().Build()).Error() }
			for round := 0; round < each && time.Since(begun) < 5*time.Second; round++ {
				if err := o.tracker.Do(ctx, o.tracker.B().Get().Key(o.key(n)).Build()).Error(); err != nil && !rueidis.IsRedisNil(err) {
					t.Error(err)
					return
				}
				steps := []func() error{
					func() error { return w.Do(ctx, w.B().Set().Key(o.key(n)).Value("v").Build()).Error() },
					ask,
				}
				if !askAfter {
					steps[0], steps[1] = steps[1], steps[0]
				}
				before := o.heard[n].Load()
				for _, step := range steps {
					if err := step(); err != nil {
						t.Error(err)
						return
					}
				}
				asked.Add(1)
				if o.heard[n].Load() == before {
					missing.Add(1)
				}
				// The rest of the announcement belongs to this round.
				if err := ask(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return asked.Load(), missing.Load()
}

// crowd has so many clients ask something all the time, until stop is called.
func (o *order) crowd(t *testing.T, s *server, clients int) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range clients {
		c := newClient(t, rueidis.ClientOption{InitAddress: []string{s.addr}, ForceSingleClient: true, DisableCache: true, PipelineMultiplex: -1})
		all.Go(func() {
			for c.Do(ctx, c.B().Ping().Build()).Error() == nil {
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}

// number returns what a section of INFO says of a name.
func (s *server) number(t testing.TB, section, name string) int {
	t.Helper()
	text, err := s.do(t, "INFO", section).ToString()
	ok(t, err)
	_, after, _ := strings.Cut(text, "\r\n"+name+":")
	n, err := strconv.Atoi(after[:strings.IndexByte(after+"\r", '\r')])
	ok(t, err)
	return n
}
