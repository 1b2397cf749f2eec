package memcache_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

// FuzzReplies has two callers, with two and three commands on one connection,
// told anything. Each returns in time, and believes only what was said to it,
// in order. A # stands for a long text.
func FuzzReplies(f *testing.F) {
	for _, says := range []string{
		"",
		"VA 1 c1 f0 O{0}\r\na\r\nHD c2 O{1}\r\nVA 1 c3 f4 O{2} W\r\nc\r\nHD O{3}\r\nHD c5 f6 O{4} X Z\r\n",
		"EN O{0}\r\nNS c0 O{1}\r\nEN O{2}\r\nNF O{3}\r\nEN O{4}\r\n",
		"EN O{0}\r\nEX c0 O{1}\r\nVA 0 c1 f0 O{2}\r\n\r\nEX O{3}\r\nEN O{4}\r\n",
		"SERVER_ERROR x\r\nSERVER_ERROR object too large for cache\r\nSERVER_ERROR \r\nSERVER_ERROR y\r\nSERVER_ERROR z\r\n",
		"VA 1 c1 f0 O{1}\r\na\r\n", "VA 1 c1 f0 O{2}\r\nc\r\nVA 1 c1 f0 O{0}\r\na\r\n",
		"VA 10 c1 f0 O{0}\r\na\r\nEN O{1}", "VA 99999999999999999999 c1 f0 O{0}\r\n", "VA 1073741824 c1 f0 O{0}\r\na",
		"VA 80000 c1 f0 O{0}\r\n##\r\nHD c2 O{1}\r\n",
		"VA 40000 c1 f0 O{0}\r\n#\r\nHD c2 O{1}\r\nEN O{2}\r\n",
		"VA 12 c1 f0 O{0}\r\n\r\nEN O{1}\r\n\r\n\r\n", "ERROR\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\n", "HD O{0}\r\n", "\r\n", "VA 3 c1 f0 O{0} O{0}\r\nabc\r\n",
		"#",
	} {
		f.Add([]byte(says), uint16(0), false)
		f.Add([]byte(says), uint16(3), true)
	}
	f.Fuzz(func(t *testing.T, says []byte, piece uint16, hang bool) {
		synctest.Test(t, func(t *testing.T) { fuzzReplies(t, string(says), int(piece), hang) })
	})
}

// scripted answers five commands with what says makes of them.
type scripted struct {
	fake
	commands []command
	said     string
}

func newScripted(says string, piece int, hang bool) *scripted {
	s := &scripted{}
	s.serve = func(n int, p *peer) {
		if n > 0 {
			behave(n, p)
			return
		}
		if !p.greet() {
			return
		}
		for range 5 {
			cmd, ok := p.next()
			if !ok {
				return
			}
			s.commands = append(s.commands, cmd)
		}
		s.said = fillIn(strings.Replace(says, "#", strings.Repeat("x", 40000), 3), s.commands)
		for rest := s.said; rest != ""; {
			size := len(rest)
			if piece > 0 {
				size = min(piece, size)
			}
			if !p.say(rest[:size]) {
				return
			}
			rest = rest[size:]
		}
		for cmd, ok := p.next(); ok && hang && p.answer(cmd); cmd, ok = p.next() {
		}
	}
	return s
}

func fuzzReplies(t *testing.T, says string, piece int, hang bool) {
	s := newScripted(says, piece, hang)
	c := s.client(t, memcache.Options{Conns: 1, MaxValue: 1 << 16})
	first := []memcache.Op{{Key: "a"}, {Kind: set, Key: "b", Value: []byte("b")}}
	second := []memcache.Op{{Key: "c", Vivify: 3}, {Kind: remove, Key: "d", CAS: 1}, {Key: "e", NoValue: true}}
	var wg sync.WaitGroup
	start := time.Now()
	var errs [2]error
	wg.Go(func() { errs[0] = c.Do(context.Background(), first) })
	synctest.Wait()
	wg.Go(func() { errs[1] = c.Do(context.Background(), second) })
	wg.Wait()
	if took := time.Since(start); took > time.Second {
		t.Errorf("the calls took %v", took)
	}
	complete := true
	for i, op := range append(first, second...) {
		answered := op.Status != unanswered || op.Err != nil
		if answered && !complete {
			t.Errorf("op %d is answered, and one before it is not", i)
		}
		complete = complete && answered
		if answered && !wasSaid(s.said, op, s.commands[i].opaque) {
			t.Errorf("op %d is %+v; the server said %.300q", i, op, s.said)
		}
		if call := min(i/2, 1); !answered && errs[call] == nil {
			t.Errorf("op %d has no answer, and Do returned nil", i)
		}
	}
	afterwards(t, c)
}

// afterwards the client is usable, and answers are right.
func afterwards(t *testing.T, c *memcache.Client) {
	var err error
	for range 3 {
		time.Sleep(3 * time.Second)
		ops := []memcache.Op{{Key: "afterwards"}}
		if err = c.Do(t.Context(), ops); err == nil {
			isFor(t, ops[0], "afterwards")
			return
		}
	}
	t.Errorf("no call succeeds any more: %v", err)
}

// wasSaid looks whether what op holds is somewhere in what the server said to
// the command with that opaque token. What was a value before it cannot be
// told, so that a line may begin anywhere.
func wasSaid(said string, op memcache.Op, opaque string) bool {
	for i := range said {
		switch said[i] {
		case 'V', 'H', 'E', 'N', 'S':
			line, _, ok := strings.Cut(said[i:min(i+5000, len(said))], "\r\n")
			if ok && isAnswer(line, said[i+len(line)+2:], op, opaque) {
				return true
			}
		}
	}
	return false
}

func isAnswer(line, after string, op memcache.Op, opaque string) bool {
	if text, ok := strings.CutPrefix(line, "SERVER_ERROR "); ok && op.Err != nil {
		return op.Err == memcache.ErrTooLarge || strings.Contains(op.Err.Error(), strconv.Quote(text[:min(len(text), 80)]))
	}
	words := strings.Split(line, " ")
	has := make(map[string]bool)
	for _, w := range words[1:] {
		has[w] = true
	}
	if !has["O"+opaque] {
		return false
	}
	if op.Err != nil {
		size, err := strconv.Atoi(words[1])
		return op.Err == memcache.ErrTooLarge && words[0] == "VA" && err == nil && size > 1<<16
	}
	switch code := words[0]; op.Status {
	case memcache.Missing:
		return code == "EN" && op.Kind == get || code == "NF" && op.Kind != get
	case memcache.Refused:
		return code == "NS" && op.Kind == set
	case memcache.Changed:
		return code == "EX" && op.Kind != get
	case memcache.Done:
		if op.Kind == get && !op.NoValue {
			size, err := strconv.Atoi(words[1])
			if code != "VA" || err != nil || size != len(op.Value) || !strings.HasPrefix(after, string(op.Value)+"\r\n") {
				return false
			}
		} else if code != "HD" {
			return false
		}
		if op.Kind == get && (has["W"] != op.Won || has["X"] != op.Stale) {
			return false
		}
		return op.Kind == remove || hasNumber(words, 'c', op.CAS) && (op.Kind == set || hasNumber(words, 'f', uint64(op.Flags)))
	}
	return false
}

func hasNumber(words []string, name byte, n uint64) bool {
	for _, w := range words {
		if w != "" && w[0] == name {
			got, err := strconv.ParseUint(w[1:], 10, 64)
			return err == nil && got == n
		}
	}
	return false
}
