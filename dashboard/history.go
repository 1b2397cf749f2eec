package dashboard

import (
	"context"
	"math"
	"sync/atomic"
	"time"
	"weak"

	"github.com/dogpile-go/dogpile"
)

const (
	pause   = 2 * time.Second              // of Watch, and of pages
	between = pause - 100*time.Millisecond // two samples, at least, whoever looks
	window  = lately                       // of the samples that are kept
	patient = 250 * time.Millisecond
)

// buckets of a histogram begin at shortest, and each is longer by the square root of two.
const (
	buckets  = 56
	shortest = 10 * time.Microsecond
)

// histogram counts durations, of 10 µs to 45 minutes.
type histogram [buckets]atomic.Uint32

func (h *histogram) add(d time.Duration) {
	i := 0
	if d > shortest {
		i = int(2 * math.Log2(float64(d)/float64(shortest)))
	}
	h[min(i, buckets-1)].Add(1)
}

// durations is what a histogram has counted up to some time.
type durations [buckets]uint32

func (h *histogram) load() (ds durations) {
	for i := range h {
		ds[i] = h[i].Load()
	}
	return ds
}

// since returns what was counted after before was.
func (ds durations) since(before durations) durations {
	for i := range ds {
		ds[i] -= before[i]
	}
	return ds
}

// quantile returns the duration that the fraction q does not exceed, within a tenth or so; ok
// is false if nothing was counted.
func (ds durations) quantile(q float64) (d time.Duration, ok bool) {
	n := 0.0
	for _, c := range ds {
		n += float64(c)
	}
	rank := q * n
	for i, c := range ds {
		if c > 0 && rank <= float64(c) {
			at := float64(i) + rank/float64(c) // as if they were spread evenly over the bucket
			return time.Duration(float64(shortest) * math.Exp2(at/2)), true
		}
		rank -= float64(c)
	}
	return 0, false
}

// sample is what a region had counted at a time.
type sample struct {
	at             time.Time
	stats          dogpile.Stats
	creates, waits durations
	why            [len(reasons)]int64
}

// history is the samples of a region, the oldest first, and whether its backend answers.
type history struct {
	samples []sample
	health  health
}

// Watch takes the samples, and asks the backends, also while nobody looks, until ctx ends. So
// those who come to look find what has happened in the last ten minutes. It returns at once
// then, and gives up the questions that have no answer yet.
func (d *Dashboard) Watch(ctx context.Context) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for ctx.Err() == nil {
		d.look(ctx, ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// look takes a sample of all regions if it is time for one, and waits a moment for their
// backends to answer, which may take until asking ends.
func (d *Dashboard) look(ctx, asking context.Context) {
	asked := d.sample(asking, time.Now())
	timeout := time.After(patient)
	for _, answered := range asked {
		select {
		case <-answered:
		case <-timeout:
			return
		case <-ctx.Done():
			return
		}
	}
}

// sample takes a sample of all regions if it is time for one, asks their backends whether they
// are there, and returns what is closed when these have answered.
func (d *Dashboard) sample(ctx context.Context, now time.Time) (asked []<-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.sampled) < between {
		return nil
	}
	d.sampled = now
	before, names := d.histories, make(map[string]bool)
	d.histories = make(map[weak.Pointer[dogpile.Region]]*history, len(before))
	for _, r := range d.regions() {
		p := weak.Make(r) // what nobody else refers to is not kept for the dashboard
		h := before[p]
		if h == nil {
			h = new(history)
		}
		d.histories[p], names[r.Name()] = h, true
		s := sample{at: now, stats: r.Stats()}
		if t := d.told.known(r.Name()); t != nil {
			s.creates, s.waits = t.creates.load(), t.waits.load()
			for i := range t.why {
				s.why[i] = t.why[i].Load()
			}
		}
		past := 0
		for past < len(h.samples) && now.Sub(h.samples[past].at) > window {
			past++
		}
		// What others have of the slice does not change: all of it is before or beyond it.
		h.samples = append(h.samples[past:], s)
		asked = append(asked, h.health.ask(ctx, r, now))
	}
	d.told.keep(names)
	return asked
}

// of returns the samples of a region, which are not to be changed, and how its backend is.
func (d *Dashboard) of(r *dogpile.Region) ([]sample, condition) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.histories[weak.Make(r)]
	if h == nil {
		return nil, condition{}
	}
	return h.samples, h.health.now()
}
