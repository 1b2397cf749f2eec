package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
)

// The plot of a panel, in the units of its SVG.
const (
	plotLeft, plotTop     = 46.0, 20.0
	plotWidth, plotHeight = 300.0, 140.0
	bucketWidth           = plotWidth / demo.BucketCount
)

// chart shows one measure over time: a panel for each mode, all with the same
// scales, and the figures of which they are drawn.
type chart struct {
	Panels []panel
	Modes  row
	Rows   []row // one for each slice of time in which something happened
}

// panel is the chart of one mode.
type panel struct {
	ID          string // of the SVG; those of its title and text begin with it
	Title, Text string
	Mode        demo.Mode
	X, Y        []tick
	Steady      float64 // where the steady state begins; 0: it does not
	Labels      []label // of the cold start and the steady state, where there is room
	Bars        []bar
	P50         string // paths
	P99         string
	Band        string // between those two
	Hints       []hint
}

type tick struct {
	At    float64
	Label string
}

// label is a text that starts or ends at a place, as its anchor says.
type label struct {
	At           float64
	Anchor, Text string
}

type bar struct{ X, Y, W, H float64 }

// hint is the text of one slice of time, shown under the pointer.
type hint struct {
	X, W  float64
	Title string
}

// timeAxis is that of all panels.
type timeAxis struct {
	end  time.Duration // of the run
	cold time.Duration // the end of the cold start, which may be past that of the run
}

// creationChart draws the number of creations that began in each slice of time.
func creationChart(results []*demo.Result, axis timeAxis) chart {
	top := 1
	for _, r := range results {
		for _, b := range r.Buckets {
			top = max(top, b.Creations)
		}
	}
	step := niceStep(top, 5)
	top = (top + step - 1) / step * step
	y := func(n int) float64 { return plotTop + plotHeight*(1-float64(n)/float64(top)) }
	c := chart{Modes: modesOf(results), Rows: axis.rows(results, func(p demo.Phase) string { return fmt.Sprint(p.Creations) })}
	for _, r := range results {
		p := axis.panel("creations", "Creations over time", r)
		for n := 0; n <= top; n += step {
			p.Y = append(p.Y, tick{y(n), fmt.Sprint(n)})
		}
		most := 0
		for i, b := range r.Buckets {
			if b.Creations == 0 {
				continue
			}
			if b.Creations > r.Buckets[most].Creations {
				most = i
			}
			// A bar is narrower than its slice, so that neighbours can be told apart.
			p.Bars = append(p.Bars, bar{bucketX(i) + 0.5, y(b.Creations), bucketWidth - 1, plotTop + plotHeight - y(b.Creations)})
			p.Hints = append(p.Hints, hint{bucketX(i), bucketWidth, axis.at(i) + ": " + count(int64(b.Creations), "creation")})
		}
		p.Text = fmt.Sprintf("%s, of them %d in the cold start; at most %d within %s, from %s on.",
			count(int64(r.Creations), "creation"), r.Cold.Creations, r.Buckets[most].Creations, span(axis.end/demo.BucketCount), axis.at(most))
		c.Panels = append(c.Panels, p)
	}
	return c
}

// latencyChart draws, on a logarithmic scale, the latencies of the requests
// that arrived in each slice of time.
func latencyChart(results []*demo.Result, axis timeAxis) chart {
	low, high := math.MaxFloat64, 0.0
	for _, r := range results {
		for _, b := range r.Buckets {
			if b.Requests > 0 {
				low, high = min(low, decade(b.P50)), max(high, decade(b.P99))
			}
		}
	}
	// The axis goes from one power of ten to another, also without a request: low has
	// no meaning then.
	low = math.Floor(min(low, high))
	high = max(math.Ceil(high), low+1)
	y := func(d time.Duration) float64 { return plotTop + plotHeight*(high-decade(d))/(high-low) }
	c := chart{Modes: modesOf(results), Rows: axis.rows(results, func(p demo.Phase) string {
		if p.Requests == 0 {
			return none
		}
		return span(p.P50) + ", " + span(p.P99)
	})}
	c.Modes.Name = "p50, p99"
	for _, r := range results {
		p := axis.panel("latency", "Latency over time", r)
		for e := low; e <= high; e++ {
			d := time.Duration(math.Round(math.Pow(10, e))) * time.Microsecond
			p.Y = append(p.Y, tick{y(d), d.String()})
		}
		for _, part := range stretches(r.Buckets) {
			addStretch(&p, r.Buckets, part, y, axis)
		}
		p.Text = fmt.Sprintf("Median %s and 99th percentile %s in the cold start, %s and %s in the steady state.",
			within(r.Cold, r.Cold.P50), within(r.Cold, r.Cold.P99), within(r.Steady, r.Steady.P50), within(r.Steady, r.Steady.P99))
		c.Panels = append(c.Panels, p)
	}
	return c
}

// stretches returns the indexes of buckets with requests, neighbours together.
func stretches(buckets []demo.Phase) [][]int {
	var all [][]int
	for i, b := range buckets {
		switch {
		case b.Requests == 0:
		case i > 0 && buckets[i-1].Requests > 0:
			all[len(all)-1] = append(all[len(all)-1], i)
		default:
			all = append(all, []int{i})
		}
	}
	return all
}

func addStretch(p *panel, buckets []demo.Phase, part []int, y func(time.Duration) float64, axis timeAxis) {
	var p50, p99, back strings.Builder
	for n, i := range part {
		// A slice has one figure, drawn as a step: a slope would make up others.
		b, x := buckets[i], bucketX(i)
		move := "L"
		if n == 0 {
			move = "M"
		}
		fmt.Fprintf(&p50, "%s%.1f %.1fh%.1f", move, x, y(b.P50), bucketWidth)
		fmt.Fprintf(&p99, "%s%.1f %.1fh%.1f", move, x, y(b.P99), bucketWidth)
		// The band is an area: it goes forth along p99, and back along p50.
		last := buckets[part[len(part)-1-n]]
		fmt.Fprintf(&back, "L%.1f %.1fh%.1f", bucketX(part[len(part)-1-n])+bucketWidth, y(last.P50), -bucketWidth)
		p.Hints = append(p.Hints, hint{x, bucketWidth, fmt.Sprintf("%s: %s, p50 %s, p99 %s, max %s",
			axis.at(i), count(int64(b.Requests), "request"), span(b.P50), span(b.P99), span(b.Max))})
	}
	p.P50 += p50.String()
	p.P99 += p99.String()
	p.Band += p99.String() + back.String() + "Z"
}

func bucketX(i int) float64 { return plotLeft + float64(i)*bucketWidth }

// panel returns an empty panel about r.
func (a timeAxis) panel(id, title string, r *demo.Result) panel {
	p := panel{
		ID:    id + "-" + string(r.Mode),
		Title: title + " in mode " + string(r.Mode),
		Mode:  r.Mode,
		X:     a.ticks(),
	}
	if a.cold >= a.end {
		p.Labels = []label{{plotLeft, "start", "cold start"}}
		return p
	}
	p.Steady = plotLeft + plotWidth*float64(a.cold)/float64(a.end)
	// The labels stand on both sides of the line. The first may reach to the left of
	// the plot: the numbers there begin below it.
	const space, room = 4.0, 62.0 // from the line to a label, and for it
	if p.Steady-space >= room {
		p.Labels = append(p.Labels, label{p.Steady - space, "end", "cold start"})
	}
	if plotLeft+plotWidth-p.Steady-space >= room {
		p.Labels = append(p.Labels, label{p.Steady + space, "start", "steady state"})
	}
	return p
}

// rows returns what cell says of each slice of time, without those in which
// nothing happened.
func (a timeAxis) rows(results []*demo.Result, cell func(demo.Phase) string) []row {
	var rows []row
	for i := range demo.BucketCount {
		if slices.ContainsFunc(results, func(m *demo.Result) bool { return m.Buckets[i].Creations+m.Buckets[i].Requests > 0 }) {
			rows = append(rows, rowOf(a.at(i), results, func(m *demo.Result) string { return cell(m.Buckets[i]) }))
		}
	}
	return rows
}

// at writes when the i-th slice of time begins.
func (a timeAxis) at(i int) string {
	return fmt.Sprintf("%.2f s", a.end.Seconds()*float64(i)/demo.BucketCount)
}

func (a timeAxis) ticks() []tick {
	top := int(a.end.Round(time.Millisecond).Milliseconds())
	step := niceStep(top, 8)
	var ticks []tick
	for n := 0; n <= top; n += step {
		at := plotLeft + plotWidth*float64(n)/float64(top)
		ticks = append(ticks, tick{at, fmt.Sprintf("%gs", float64(n)/1000)})
	}
	return ticks
}

// niceStep returns the distance at which no more than ticks of them, and the one
// at 0, go up to top.
func niceStep(top, ticks int) int {
	for unit := 1; ; unit *= 10 {
		for _, n := range []int{1, 2, 5} {
			if top <= ticks*n*unit {
				return n * unit
			}
		}
	}
}

// decade returns the logarithm of d in microseconds, those below one as one.
func decade(d time.Duration) float64 {
	return math.Log10(max(1, float64(d)/float64(time.Microsecond)))
}
