package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
)

// The plot of a chart, in the units of its SVG.
const (
	plotLeft, plotTop     = 46.0, 10.0
	plotWidth, plotHeight = 300.0, 140.0
)

// panel is one chart of one mode. All panels of a measure have the same scales.
type panel struct {
	Mode  demo.Mode
	X, Y  []tick
	Bars  []bar
	P50   string // paths
	P99   string
	Band  string // between those two
	Hints []hint
}

type tick struct {
	At    float64
	Label string
}

type bar struct{ X, Y, W, H float64 }

// hint is the text of one slice of time, shown under the pointer.
type hint struct {
	X, W  float64
	Title string
}

// creationPanels draw the number of creations that began in each slice of time.
func creationPanels(results []*demo.Result, end time.Duration) []panel {
	top := 1
	for _, r := range results {
		for _, b := range r.Buckets {
			top = max(top, b.Creations)
		}
	}
	step := niceStep(top, 5)
	top = (top + step - 1) / step * step
	y := func(n int) float64 { return plotTop + plotHeight*(1-float64(n)/float64(top)) }
	var panels []panel
	for _, r := range results {
		p := panel{Mode: r.Mode, X: timeTicks(end)}
		for n := 0; n <= top; n += step {
			p.Y = append(p.Y, tick{y(n), fmt.Sprint(n)})
		}
		for i, b := range r.Buckets {
			if b.Creations == 0 {
				continue
			}
			p.Bars = append(p.Bars, bar{bucketX(i) + 0.5, y(b.Creations), bucketWidth - 1, plotTop + plotHeight - y(b.Creations)})
			p.Hints = append(p.Hints, hintAt(i, end, fmt.Sprintf("%d creations", b.Creations)))
		}
		panels = append(panels, p)
	}
	return panels
}

// latencyPanels draw, on a logarithmic scale, the latencies of the requests
// that arrived in each slice of time.
func latencyPanels(results []*demo.Result, end time.Duration) []panel {
	low, high := math.MaxFloat64, 0.0
	for _, r := range results {
		for _, b := range r.Buckets {
			if b.Requests > 0 {
				low, high = min(low, decade(b.P50)), max(high, decade(b.P99))
			}
		}
	}
	low = math.Floor(min(low, high))
	high = max(math.Ceil(high), low+1)
	y := func(d time.Duration) float64 { return plotTop + plotHeight*(high-decade(d))/(high-low) }
	var panels []panel
	for _, r := range results {
		p := panel{Mode: r.Mode, X: timeTicks(end)}
		for e := low; e <= high; e++ {
			d := time.Duration(math.Round(math.Pow(10, e))) * time.Microsecond
			p.Y = append(p.Y, tick{y(d), d.String()})
		}
		for _, part := range stretches(r.Buckets) {
			addStretch(&p, r.Buckets, part, y, end)
		}
		panels = append(panels, p)
	}
	return panels
}

// stretches returns the indexes of buckets with requests, neighbours together.
func stretches(buckets []demo.Bucket) [][]int {
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

func addStretch(p *panel, buckets []demo.Bucket, part []int, y func(time.Duration) float64, end time.Duration) {
	var p50, p99, back strings.Builder
	for n, i := range part {
		b, x := buckets[i], bucketX(i)
		move := "L"
		if n == 0 {
			move = "M"
		}
		fmt.Fprintf(&p50, "%s%.1f %.1fh%.1f", move, x, y(b.P50), bucketWidth)
		fmt.Fprintf(&p99, "%s%.1f %.1fh%.1f", move, x, y(b.P99), bucketWidth)
		last := buckets[part[len(part)-1-n]]
		fmt.Fprintf(&back, "L%.1f %.1fh%.1f", bucketX(part[len(part)-1-n])+bucketWidth, y(last.P50), -bucketWidth)
		p.Hints = append(p.Hints, hintAt(i, end, fmt.Sprintf("%d requests, p50 %s, p99 %s, max %s",
			b.Requests, span(b.P50), span(b.P99), span(b.Max))))
	}
	p.P50 += p50.String()
	p.P99 += p99.String()
	p.Band += p99.String() + back.String() + "Z"
}

const bucketWidth = plotWidth / demo.BucketCount

func bucketX(i int) float64 { return plotLeft + float64(i)*bucketWidth }

func hintAt(i int, end time.Duration, text string) hint {
	at := end.Seconds() * float64(i) / demo.BucketCount
	return hint{bucketX(i), bucketWidth, fmt.Sprintf("%.2f s: %s", at, text)}
}

func timeTicks(end time.Duration) []tick {
	top := int(end.Round(time.Millisecond).Milliseconds())
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
