// Package dashboard shows what the regions of a process do, to people with a browser: hits,
// stale entries and misses over time, how long creations and waits take, the creations that
// are under way, the state of each backend, the keys that are asked for most, and what is
// stored under a key.
//
//	http.Handle("/debug/dogpile/", http.StripPrefix("/debug/dogpile", dashboard.Handler(nil)))
//
// It is for the inside of a house. It has no authentication of its own, shows keys and values
// to all who reach it, and with [Options.Actions] lets them delete: mount it where only those
// come who may, or behind a handler that asks for a password.
//
// What regions count is seen of any region. What they tell their hooks alone, which is
// latencies, reasons, errors and single keys, is seen of those that have [Dashboard.Hooks]
// among theirs:
//
//	board := dashboard.New(nil)
//	region.Configure(backend, &dogpile.Options{Hooks: dogpile.JoinHooks(board.Hooks(), others)})
//
// The pages are self-contained: nothing is loaded from anywhere else. They show this process
// alone, not others that share its backends.
package dashboard

import (
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/dogpile-go/dogpile"
)

// Options says what a [Dashboard] shows and may do. The zero value is ready to use: all
// regions, and nothing can be changed.
type Options struct {
	// Regions are those that are shown; a nil among them is left out. nil: what
	// [dogpile.Regions] returns at the time.
	Regions []*dogpile.Region
	// Actions lets people delete entries, and invalidate regions and tags. Requests of pages
	// from other origins are refused, and so are those under a name that is not among Hosts.
	// false: every POST is refused.
	Actions bool
	// Hosts are the names under which the dashboard can be reached, without ports, that may
	// change something: "cache.internal". IP addresses, "localhost" and names that end in
	// ".localhost" always may. Otherwise a page of another site whose name is made to lead
	// here could send forms. It matters for Actions alone: to keep such a page from reading,
	// ask for a password.
	Hosts []string
	// Renew creates the entry of key anew, for a button on the page of a key; it goes with
	// Actions. It has to find the function that the key belongs to and call its Refresh.
	// nil: there is no button, as a region does not know its creators.
	Renew func(ctx context.Context, r *dogpile.Region, key string) error
	// HideValues shows of an entry all but its value.
	HideValues bool
}

// Dashboard is an [http.Handler] that shows regions. While somebody looks, or [Dashboard.Watch]
// runs, it takes a sample of each region, two seconds after the last one, and asks the region's
// backend whether it is there. It keeps the samples of the last ten minutes, which take up to
// 400 KiB for each region. It needs no closing: no goroutine of it is left three seconds after
// the last page, unless a backend does not return when it is told to. All methods may be called
// from many goroutines.
type Dashboard struct {
	o     Options
	token string // without which nothing is changed
	cross *http.CrossOriginProtection
	told  told

	mu        sync.Mutex
	sampled   time.Time
	histories map[weak.Pointer[dogpile.Region]]*history // of the regions that are shown
	numbers   map[weak.Pointer[dogpile.Region]]int      // of those regions
	next      map[string]int                            // the number of the next region, by names
}

// New returns a Dashboard; o may be nil. It copies o, though not the regions in it.
func New(o *Options) *Dashboard {
	d := &Dashboard{token: rand.Text(), cross: http.NewCrossOriginProtection()}
	if o != nil {
		d.o = *o
	}
	return d
}

// Handler is [New] for those who need no hooks.
func Handler(o *Options) http.Handler { return New(o) }

//go:embed static
var static embed.FS

// policy lets a page load nothing from anywhere else, and run and wear nothing that stands in
// the page itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP serves the pages, under any prefix that http.StripPrefix has taken off.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	// Keys are in addresses. No-referrer would be too strict: the browser would not say
	// where a form comes from, not even to us.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	defer d.contain(w, r)
	// The prefix may have been taken off with the slash at its end, or without.
	if asked, _, _ := strings.Cut(r.RequestURI, "?"); r.URL.Path == "" && !strings.HasSuffix(asked, "/") {
		// The links of the page are relative to a directory.
		h.Set("Location", "./"+path.Base(asked)+"/")
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	switch name := strings.TrimPrefix(r.URL.Path, "/"); {
	case name == "":
		d.serve(w, r, d.overview, nil)
	case name == "region":
		d.serve(w, r, d.region, d.changeRegion)
	case name == "key":
		d.serve(w, r, d.key, d.changeKey)
	case strings.HasPrefix(name, "static/") && name != "static/":
		http.ServeFileFS(w, r, static, name)
	default:
		d.fail(w, r, http.StatusNotFound, "There is no such page.")
	}
}

// contain shows a panic of something that is called for a page: a proxy, a mangler, Options.Renew.
// A page is written when it is whole, so nothing of it is there yet.
func (d *Dashboard) contain(w http.ResponseWriter, r *http.Request) {
	switch p := recover(); p {
	case nil:
	case http.ErrAbortHandler:
		panic(p)
	default:
		d.fail(w, r, http.StatusInternalServerError, fmt.Sprintf("This panics: %v", p))
	}
}

// serve shows a page, or changes something and shows the page again.
func (d *Dashboard) serve(w http.ResponseWriter, r *http.Request, show func(http.ResponseWriter, *http.Request), change action) {
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		show(w, r)
	case r.Method == http.MethodPost && d.o.Actions && change != nil:
		d.act(w, r, change)
	default:
		w.Header().Set("Allow", "GET, HEAD")
		d.fail(w, r, http.StatusMethodNotAllowed, "Nothing can be changed here.")
	}
}

// regions returns the regions to show.
func (d *Dashboard) regions() []*dogpile.Region {
	if d.o.Regions == nil {
		return dogpile.Regions()
	}
	return slices.DeleteFunc(slices.Clone(d.o.Regions), func(r *dogpile.Region) bool { return r == nil })
}

// place is where a region is in an address: several may have one name.
type place struct {
	region *dogpile.Region
	Query  url.Values
}

// places returns the places of all regions. Each region has a number among those of its name, from
// when it is first seen, so that the address of one that is gone is not that of another. Numbers
// begin anew only when there is no region of the name.
func (d *Dashboard) places() []place {
	d.mu.Lock()
	defer d.mu.Unlock()
	numbers, next := make(map[weak.Pointer[dogpile.Region]]int), make(map[string]int)
	var all []place
	for _, r := range d.regions() {
		p, name := weak.Make(r), r.Name()
		next[name] = max(next[name], d.next[name])
		n, seen := d.numbers[p]
		if !seen {
			n, seen = numbers[p] // it is among Options.Regions twice
		}
		if !seen {
			n = next[name]
			next[name]++
		}
		numbers[p] = n
		q := url.Values{"region": {name}}
		if n > 0 {
			q.Set("nth", number(n))
		}
		all = append(all, place{r, q})
	}
	d.numbers, d.next = numbers, next
	return all
}

// find returns the place that a request is for.
func (d *Dashboard) find(r *http.Request) (place, bool) {
	q := r.URL.Query()
	for _, p := range d.places() {
		if p.Query.Get("region") == q.Get("region") && p.Query.Get("nth") == q.Get("nth") {
			return p, true
		}
	}
	return place{}, false
}

// at returns the address of a page about a region, or about a key of it.
func (p place) at(page string, more ...string) string {
	q := url.Values{}
	for k, v := range p.Query {
		q[k] = v
	}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return page + "?" + q.Encode()
}

// keyAt returns the address of the page of a key.
func (p place) keyAt(key string) string { return p.at("key", "key", key) }
