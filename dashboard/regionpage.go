package dashboard

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

const (
	listed    = 10  // keys in a list
	underWay  = 100 // creations in a list
	inMinutes = time.Minute
)

// regionPage is what the page of a region shows.
type regionPage struct {
	page
	summary
	Points   []point
	Settings []setting
	Near     bool // it keeps copies
	Creating []creating
	More     int // creations that are left out

	Told    bool // the region's hooks tell the rest
	Create  percentiles
	Wait    percentiles
	Reasons []reason
	Hot     []hotKey
	Slow    []slowKey
	Trouble []faultOf
}

// rates is how often something was done in a second.
type rates struct{ Asked, Hits, Near, Stale, Misses, Creations float64 }

// HitShare returns the part of the keys asked for that was fresh, in percent.
func (r rates) HitShare() string { return percent(r.Hits, r.Asked) }

// StaleShare returns the part that was stale, in percent.
func (r rates) StaleShare() string { return percent(r.Stale, r.Asked) }

// MissShare returns the part that was missing, in percent.
func (r rates) MissShare() string { return percent(r.Misses, r.Asked) }

// NearShare returns the part that copies in this process have answered, in percent.
func (r rates) NearShare() string { return percent(r.Near, r.Asked) }

// ratesBetween returns the rates from one sample to a later one.
func ratesBetween(a, b sample) rates {
	per := func(before, after int64) float64 { return float64(after-before) / b.at.Sub(a.at).Seconds() }
	r := rates{
		Hits: per(a.stats.Hits, b.stats.Hits), Near: per(a.stats.NearHits, b.stats.NearHits),
		Stale: per(a.stats.Stale, b.stats.Stale), Misses: per(a.stats.Misses, b.stats.Misses),
		Creations: per(a.stats.Creations+a.stats.Failures, b.stats.Creations+b.stats.Failures),
	}
	r.Asked = r.Hits + r.Stale + r.Misses
	return r
}

// back returns the last sample that is so much older than the newest, or the oldest that
// there is.
func back(samples []sample, d time.Duration) sample {
	last := samples[len(samples)-1]
	for _, s := range slices.Backward(samples) {
		if last.at.Sub(s.at) >= d {
			return s
		}
	}
	return samples[0]
}

// ratesSince returns the rates over the time before the newest sample.
func ratesSince(samples []sample, d time.Duration) (r rates) {
	if len(samples) > 1 {
		r = ratesBetween(back(samples, d), samples[len(samples)-1])
	}
	return r
}

// point is what the plots show of the time between two samples.
type point struct {
	At time.Time
	rates
	Create, Wait percentiles
}

// percentiles are of durations; 0: there were none.
type percentiles struct{ Median, High time.Duration }

func percentilesOf(ds durations) (p percentiles) {
	p.Median, _ = ds.quantile(0.5)
	p.High, _ = ds.quantile(0.95)
	return p
}

// points returns the newest first, as one reads a table.
func points(samples []sample) []point {
	var all []point
	for i := len(samples) - 1; i > 0; i-- {
		a, b := samples[i-1], samples[i]
		all = append(all, point{
			b.at, ratesBetween(a, b),
			percentilesOf(b.creates.since(a.creates)), percentilesOf(b.waits.since(a.waits)),
		})
	}
	return all
}

// area is one of the areas of a small plot of the last ten minutes, in a box of 120 by 24.
type area struct{ Class, Points string }

// spark returns a plot of what was asked for over time, those behind first.
func spark(samples []sample) []area {
	if len(samples) < 3 {
		return nil
	}
	most := 0.0
	for i := 1; i < len(samples); i++ {
		most = max(most, ratesBetween(samples[i-1], samples[i]).Asked)
	}
	last := samples[len(samples)-1].at
	x := func(s sample) float64 { return 120 - 120*float64(last.Sub(s.at))/float64(window) }
	areas := []area{{Class: "miss"}, {Class: "stale"}, {Class: "hit"}}
	for n := range areas {
		var b strings.Builder
		fmt.Fprintf(&b, "%.1f,24", x(samples[1]))
		for i := 1; i < len(samples); i++ {
			r := ratesBetween(samples[i-1], samples[i])
			height := [...]float64{r.Asked, r.Hits + r.Stale, r.Hits}[n] / max(most, 1)
			fmt.Fprintf(&b, " %.1f,%.1f", x(samples[i]), 24-24*height)
		}
		b.WriteString(" 120,24")
		areas[n].Points = b.String()
	}
	return areas
}

// creating is a creation that is under way.
type creating struct {
	dogpile.Creating
	Key    shownKey
	Region string
}

func (p place) creating() []creating {
	var all []creating
	for _, c := range p.region.Creating() {
		all = append(all, creating{c, p.key(c.Key), name(p.region)})
	}
	return all
}

// oldest returns those that have taken longest, and how many more there are.
func oldest(all []creating) (some []creating, more int) {
	slices.SortStableFunc(all, func(a, b creating) int { return a.Since.Compare(b.Since) })
	n := min(len(all), underWay)
	return all[:n], len(all) - n
}

type hotKey struct {
	hot
	Key shownKey
}

type slowKey struct {
	slow
	Key shownKey
}

type faultOf struct {
	fault
	Key shownKey
}

type reason struct {
	Reason dogpile.Reason
	Times  int64
}

// told fills in what the hooks have told.
func (v *regionPage) told(d *Dashboard, samples []sample) {
	t := d.told.known(v.region.Name())
	if v.Told = t != nil; !v.Told || len(samples) == 0 {
		return
	}
	first, last, past := samples[0], samples[len(samples)-1], back(samples, inMinutes)
	v.Create = percentilesOf(last.creates.since(past.creates))
	v.Wait = percentilesOf(last.waits.since(past.waits))
	for i, why := range reasons {
		if n := last.why[i] - first.why[i]; n > 0 {
			v.Reasons = append(v.Reasons, reason{why, n})
		}
	}
	slices.SortStableFunc(v.Reasons, func(a, b reason) int { return cmp.Compare(b.Times, a.Times) })
	for _, k := range t.hot.top(listed, v.page.Now) {
		v.Hot = append(v.Hot, hotKey{k, v.key(k.Key)})
	}
	for _, k := range t.slow.top(listed, v.page.Now) {
		v.Slow = append(v.Slow, slowKey{k, v.key(k.Key)})
	}
	for _, f := range t.trouble.list(v.page.Now) {
		of := faultOf{f, shownKey{}}
		if of.Text = visible(f.Text); f.Key != "" {
			of.Key = v.key(f.Key)
		}
		v.Trouble = append(v.Trouble, of)
	}
}

// backend returns what a region is kept in, in a word. A backend that panics when it is asked for
// that takes no page with it.
func backend(r *dogpile.Region) (kind string) {
	defer func() {
		if recover() != nil {
			kind = "a backend"
		}
	}()
	if b := r.Backend(); b != nil {
		return cmp.Or(driver.CapsOf(b).Name, "a backend")
	}
	return "not configured"
}

// setting is one of the region's options, for people.
type setting struct{ Name, Value string }

func settings(o dogpile.Options) []setting {
	all := []setting{
		{"Stale after", limit(o.Expiration, "never", "at once")},
		{"Served stale for", limit(o.StaleFor, "as long as it is there", "as long again")},
		{"Stands in for a failure for", limit(o.StaleIfError, "as long as it is there", "not at all")},
		{"A creation takes at most", limit(o.CreateTimeout, "any time", "")},
		{"Lease of the lock", limit(o.LockTTL, "", "")},
		{"A call of the backend takes at most", limit(o.BackendTimeout, "any time", "")},
	}
	add := func(is bool, name, value string) {
		if is {
			all = append(all, setting{name, value})
		}
	}
	add(o.RefreshAhead > 0, "Renewed ahead from", percent(o.RefreshAhead, 1)+" of that age")
	add(o.Jitter > 0, "Expires early by up to", percent(o.Jitter, 1))
	add(o.MaxCreators > 0, "Creators at once", strconv.Itoa(o.MaxCreators))
	add(o.FailFor > 0, "A failure is the answer for", span(o.FailFor))
	add(o.InvalidationLag > 0, "Invalidations are noticed within", span(o.InvalidationLag))
	add(o.RetryDeletes > 0, "Failed deletes kept", strconv.Itoa(o.RetryDeletes))
	if n := o.Near; n != nil {
		add(true, "Copies in this process are right but for", span(n.Lag))
		add(n.MaxEntries > 0, "Copies at most", group(int64(n.MaxEntries)))
		add(n.MaxBytes > 0, "Bytes of copies at most", size(n.MaxBytes))
		add(n.Exact, "Copies are exact", "yes")
	}
	add(true, "Before each key", showKey(o.Prefix, keyInTable).Text)
	return all
}
