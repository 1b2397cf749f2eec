// Package scrape reads the metrics of processes that use the library, as plugin/dogpileprom
// exposes them, and tells what has happened between two readings.
package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Series is one number among the metrics, without the labels that it does not have.
type Series struct {
	Metric  string // without "dogpile_"
	Region  string
	Name    string // of the cache
	Backend string
	Op      string
	Result  string  // or the outcome, of a duration
	UpTo    float64 // of a part of a histogram: durations in seconds up to this
}

// Values are numbers, by what they are of: of what was counted, how often in a second.
type Values map[Series]float64

// Process is a process that serves its metrics. Its methods may not be called at once.
type Process struct {
	URL    *url.URL
	client *http.Client

	read    time.Time // when counts were read; zero: they were not
	counts  Values
	failing time.Time // since when it has not answered; zero: it has
}

// New returns the process with metrics at a URL, which is not asked yet. Host and port are
// enough: the path is /metrics then.
func New(at string) (*Process, error) {
	if !strings.Contains(at, "://") {
		at = "http://" + at
	}
	u, err := url.Parse(at)
	switch {
	case err != nil:
		return nil, errors.New("it is no URL") // the error would show a password
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("a URL of scheme %q; http and https can be read", u.Scheme)
	case u.Host == "":
		return nil, errors.New("there is no host in it")
	case strings.Contains(u.Path, "@"):
		return nil, errors.New("there is an @ in its path, which is shown; a user and a password stand before the host, as in http://USER:PASSWORD@HOST/PATH")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/metrics"
	}
	return &Process{URL: u, client: &http.Client{}}, nil
}

// Failing returns when the process was asked first of all the times that it has not answered since;
// the zero time if it has.
func (p *Process) Failing() time.Time { return p.failing }

// Read reads the metrics and returns how they have changed since they were read before: what is
// counted in counts a second, and the others as they are. That is nil for the first time.
func (p *Process) Read(ctx context.Context) (Values, error) {
	asked := time.Now()
	counts, gauges, err := p.get(ctx)
	if err != nil {
		if p.failing.IsZero() {
			p.failing = asked
		}
		return nil, err
	}
	at := time.Now()
	before, since := p.counts, at.Sub(p.read)
	first := p.read.IsZero()
	p.read, p.counts, p.failing = at, counts, time.Time{}
	if first || since <= 0 {
		return nil, nil
	}
	for s, n := range before {
		if counts[s] < n {
			before = nil // the process has begun anew, also with what it counts more of by now
			break
		}
	}
	for s, n := range counts {
		gauges[s] = (n - before[s]) / since.Seconds()
	}
	return gauges, nil
}

// limit is how many bytes of metrics are read.
const limit = 64 << 20

func (p *Process) get(ctx context.Context) (counts, gauges Values, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "text/plain; version=0.0.4")
	res, err := p.client.Do(req)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err // who calls knows the URL
		}
		return nil, nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("it answers %s", res.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(res.Body, limit))
	if err != nil {
		return nil, nil, fmt.Errorf("it answers with something else than metrics: %w", err)
	}
	counts, gauges = make(Values), make(Values)
	ours := false
	for name, family := range families {
		metric, is := strings.CutPrefix(name, "dogpile_")
		ours = ours || is
		for _, m := range family.Metric {
			if is {
				add(counts, gauges, metric, m)
			}
		}
	}
	if !ours {
		return nil, nil, errors.New("it has no metric of dogpile: its Collector of plugin/dogpileprom is not registered there, or no region is")
	}
	return counts, gauges, nil
}

func add(counts, gauges Values, metric string, m *dto.Metric) {
	s := Series{Metric: metric}
	for _, l := range m.Label {
		switch v := l.GetValue(); l.GetName() {
		case "region":
			s.Region = v
		case "name":
			s.Name = v
		case "backend":
			s.Backend = v
		case "op":
			s.Op = v
		case "result", "outcome":
			s.Result = v
		}
	}
	switch {
	case m.Counter != nil:
		counts[s] += m.Counter.GetValue()
	case m.Gauge != nil:
		gauges[s] += m.Gauge.GetValue()
	case m.Histogram != nil:
		of := func(part string, upTo, n float64) {
			s := s
			s.Metric, s.UpTo = metric+part, upTo
			counts[s] += n
		}
		of("_sum", 0, m.Histogram.GetSampleSum())
		of("_count", 0, float64(m.Histogram.GetSampleCount()))
		for _, b := range m.Histogram.Bucket {
			if !math.IsInf(b.GetUpperBound(), 1) { // that is the count
				of("_bucket", b.GetUpperBound(), float64(b.GetCumulativeCount()))
			}
		}
	}
}
