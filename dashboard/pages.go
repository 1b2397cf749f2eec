package dashboard

import (
	"bytes"
	"context"
	"embed"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile"
)

//go:embed templates
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"span": span, "size": size, "rate": rate, "group": group,
	"clock":  func(t time.Time) string { return t.UTC().Format("15:04:05") },
	"date":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"stamp":  func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") },
	"ago":    func(t time.Time) string { return span(time.Since(t)) },
	"float":  func(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) },
	"millis": millis,
}).ParseFS(files, "templates/*.html"))

// page is what all pages have.
type page struct {
	Root    string // the way to the overview from here; "": it is in the same directory
	Title   string
	Now     time.Time
	Live    bool   // it is kept up to date
	Done    string // what an action has done
	Actions bool
	Token   string
}

func (d *Dashboard) page(r *http.Request, title string) page {
	return page{Title: title, Now: time.Now(), Done: done[r.URL.Query().Get("did")], Actions: d.o.Actions, Token: d.token}
}

// render writes a page, or what is wrong with it.
func (d *Dashboard) render(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, "dashboard: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // an error is that of a client that has gone
}

// fail says that something is not to be had.
func (d *Dashboard) fail(w http.ResponseWriter, r *http.Request, status int, problem string) {
	under := strings.Count(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	d.render(w, status, "problem.html", struct {
		page
		Problem string
	}{page{Root: strings.Repeat("../", under), Title: http.StatusText(status), Now: time.Now()}, visible(cut(problem, 4*maxText))})
}

// summary is a region in few words.
type summary struct {
	place
	Name      string
	Backend   string
	At        string
	Condition condition
	Stats     dogpile.Stats
	Known     bool  // there are two samples at least
	Lately    rates // of the last seconds
	Lost      int64 // leases, in the last minutes
	Creators  int   // that run now
	Spark     []area
}

// PerSecond returns one of the rates of the last seconds.
func (s summary) PerSecond(r float64) string {
	if !s.Known {
		return "–"
	}
	return rate(r)
}

// name returns the name of a region; one that has none is shown as such.
func name(r *dogpile.Region) string {
	if r.Name() == "" {
		return "(no name)"
	}
	return showKey(r.Name(), keyInTable).Text
}

func (d *Dashboard) summary(p place) (summary, []sample) {
	samples, health := d.of(p.region)
	s := summary{place: p, Name: name(p.region), At: p.at("region"), Condition: health, Backend: backend(p.region)}
	if n := len(samples); n > 0 {
		s.Stats, s.Known = samples[n-1].stats, n > 1
		s.Lately = ratesSince(samples, 10*time.Second)
		s.Lost = s.Stats.LeasesLost - samples[0].stats.LeasesLost
	}
	return s, samples
}

// overview shows all regions.
func (d *Dashboard) overview(w http.ResponseWriter, r *http.Request) {
	d.look(r.Context(), context.Background())
	v := struct {
		page
		Regions  []summary
		Creating []creating
		More     int
	}{page: d.page(r, "Regions")}
	v.Live = true
	for _, p := range d.places() {
		s, samples := d.summary(p)
		s.Spark = spark(samples)
		creating := p.creating()
		s.Creators = len(creating)
		v.Regions = append(v.Regions, s)
		v.Creating = append(v.Creating, creating...)
	}
	v.Creating, v.More = oldest(v.Creating)
	d.render(w, http.StatusOK, "overview.html", v)
}

// region shows one.
func (d *Dashboard) region(w http.ResponseWriter, r *http.Request) {
	p, ok := d.find(r)
	if !ok {
		d.fail(w, r, http.StatusNotFound, "There is no such region, or not any more.")
		return
	}
	d.look(r.Context(), context.Background())
	v := regionPage{page: d.page(r, name(p.region))}
	v.Live = true
	var samples []sample
	v.summary, samples = d.summary(p)
	v.Points = points(samples)
	v.Settings, v.Near = settings(p.region.Options()), p.region.Options().Near != nil
	creating := p.creating()
	v.Creators = len(creating)
	v.Creating, v.More = oldest(creating)
	v.told(d, samples)
	d.render(w, http.StatusOK, "region.html", v)
}

// key shows what is stored under a key.
func (d *Dashboard) key(w http.ResponseWriter, r *http.Request) {
	p, ok := d.find(r)
	if !ok {
		d.fail(w, r, http.StatusNotFound, "There is no such region, or not any more.")
		return
	}
	d.render(w, http.StatusOK, "key.html", d.keyPage(r, p))
}
