package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
)

// comparison is what the verdict is about.
type comparison struct {
	ours   *demo.Result // of mode dogpile
	others []*demo.Result
}

// measure is something that is better the less there is of it.
type measure struct {
	of   func(*demo.Result) int64
	text func(int64) string

	least, level, more string // what is said of a mode; %s is the best of the others
}

// Verdict says in words how mode dogpile compares with the others: first what is
// judged, then sentences with the figures for it. It is empty without dogpile and
// another mode. Mode near is not judged: it is dogpile too. A sentence tells what its
// copies are good for.
func (r *Report) Verdict() []string {
	var c comparison
	for _, m := range r.Results {
		switch m.Mode {
		case demo.Dogpile:
			c.ours = m
		case demo.Near:
		default:
			c.others = append(c.others, m)
		}
	}
	if c.ours == nil || len(c.others) == 0 {
		return nil
	}
	where, latency := c.latency()
	first, behind1 := c.judge(creations)
	second, behind2 := c.judge(latency)
	and := ", and "
	if behind1 != behind2 {
		and = ", but "
	}
	judged := first + and + second + "."
	// It comes first, as a mode that fails may do so fast and without the origin.
	if best := c.best(lost.of); lost.of(c.ours) > lost.of(best) {
		judged = fmt.Sprintf("had more errors and unanswered requests than mode %s. It %s", best.Mode, judged)
	}
	sentences := []string{
		"dogpile " + judged,
		"It asked the origin " + c.figures(creations) + ".",
		where + " its latency p99 was " + c.figures(latency) + ".",
	}
	if slices.ContainsFunc(r.Results, func(m *demo.Result) bool { return lost.of(m) > 0 }) {
		sentences = append(sentences, "Errors and unanswered requests: "+c.figures(lost)+".")
	}
	if n := c.ours.StaleServed; n > 0 {
		sentences = append(sentences, fmt.Sprintf("Of its %s, %d got a stale value.", count(int64(c.ours.Requests), "request"), n))
	}
	if near := r.of(demo.Near); near != nil {
		sentences = append(sentences, fmt.Sprintf("With copies in its processes, mode near answered %d of %s without the backend; half of its fresh hits took no more than %s (mode dogpile: %s).",
			near.NearHits, count(int64(near.Requests), "request"), hitTook(near), hitTook(c.ours)))
	}
	return sentences
}

var creations = measure{
	of:    func(m *demo.Result) int64 { return int64(m.Creations) },
	text:  func(n int64) string { return count(n, "time") },
	least: "asked the origin least often",
	level: "asked the origin about as often as mode %s",
	more:  "asked the origin more often than mode %s",
}

var lost = measure{
	of:   func(m *demo.Result) int64 { return int64(m.Errors + m.Unanswered) },
	text: func(n int64) string { return fmt.Sprint(n) },
}

// latency is that of the steady state, if there was one.
func (c *comparison) latency() (where string, m measure) {
	m = measure{
		of:    func(m *demo.Result) int64 { return int64(m.Steady.P99) },
		text:  func(n int64) string { return span(time.Duration(n)) },
		least: "had the lowest latency p99",
		level: "had about the same latency p99 as mode %s",
		more:  "had a higher latency p99 than mode %s",
	}
	if c.ours.Steady.Requests > 0 {
		return "In the steady state", m
	}
	m.of = func(m *demo.Result) int64 { return int64(m.P99) }
	return "Over the whole run, which ended before anything could expire,", m
}

// best returns the one of the others that has the least.
func (c *comparison) best(of func(*demo.Result) int64) *demo.Result {
	// The first of several that are level, so that the same results have one verdict.
	return slices.MinFunc(c.others, func(a, b *demo.Result) int { return cmp.Compare(of(a), of(b)) })
}

// judge says how ours stands to the best of the others, and whether it is behind.
// A tenth more or less is no difference: so much comes and goes between two runs.
func (c *comparison) judge(m measure) (text string, behind bool) {
	best := c.best(m.of)
	a, b := m.of(c.ours), m.of(best)
	switch {
	case 10*a < 9*b:
		return m.least, false
	case 10*b < 9*a:
		return fmt.Sprintf(m.more, best.Mode), true
	}
	return fmt.Sprintf(m.level, best.Mode), false
}

// figures returns ours, and those of the others in brackets.
func (c *comparison) figures(m measure) string {
	var others []string
	for _, o := range c.others {
		others = append(others, fmt.Sprintf("mode %s: %s", o.Mode, m.text(m.of(o))))
	}
	return fmt.Sprintf("%s (%s)", m.text(m.of(c.ours)), strings.Join(others, ", "))
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
