// Package tiles serves a map of the Mandelbrot set, of tiles that cost time to draw, through a
// cache, and shows of each tile whether that had it.
package tiles

import (
	"context"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/origin"
)

// Size is the width and the height of a tile, in pixels.
const Size = 128

// Map is an [http.Handler]: the page at "/", and the tiles of it at "/tile/zoom/x/y".
type Map struct {
	mux   *http.ServeMux
	cache *dogpile.Cache[[]byte]
	delay time.Duration
}

//go:embed page
var page embed.FS

var index = template.Must(template.ParseFS(page, "page/map.html"))

// policy lets the page load nothing from anywhere else, and run and wear nothing that stands in
// the page itself. A tile is shown from memory, since the page looks at its headers.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; " +
	"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// New returns a map whose tiles are kept in region. Each takes delay longer to draw than it
// would, as if it came from afar. name is that of the process, and about what its page says of the
// cache.
func New(region *dogpile.Region, delay time.Duration, name, about string) *Map {
	m := &Map{mux: http.NewServeMux(), delay: delay,
		cache: dogpile.NewCache(region, &dogpile.CacheOptions[[]byte]{Name: "tile", Codec: dogpile.Bytes})}
	m.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		index.Execute(w, struct{ Name, About string }{name, about})
	})
	for _, file := range []string{"map.js", "map.css"} {
		m.mux.HandleFunc("GET /"+file, func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, page, "page/"+file) })
	}
	// Browsers ask for it, and would write of one that is not found.
	m.mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	m.mux.HandleFunc("GET /tile/{zoom}/{x}/{y}", m.tile)
	return m
}

// ServeHTTP implements [http.Handler].
func (m *Map) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store") // the browser's cache would answer in place of this one
	m.mux.ServeHTTP(w, r)
}

// from is what a page and a header call where a value comes from.
var from = map[dogpile.From]string{
	dogpile.Hit: "hit", dogpile.StaleHit: "stale", dogpile.Created: "created", dogpile.Waited: "waited", dogpile.StoodIn: "stale",
}

// place is a zoom, x and y.
type place [3]int

// placeOf returns where a tile is. One tile has one address, and so one key.
func placeOf(zoom, x, y string) (at place, ok bool) {
	for i, text := range []string{zoom, x, y} {
		n, err := strconv.Atoi(text)
		if err != nil || strconv.Itoa(n) != text || n < 0 || i == 0 && n > origin.Deepest || i > 0 && int64(n) >= 1<<at[0] {
			return at, false
		}
		at[i] = n
	}
	return at, true
}

func (p place) key() string { return fmt.Sprintf("%d/%d/%d", p[0], p[1], p[2]) }

// Renew draws the tile of a key of the region anew.
func (m *Map) Renew(ctx context.Context, key string) error {
	parts := strings.Split(key, "/")
	if len(parts) != 3 {
		return fmt.Errorf("%q is no tile", key)
	}
	at, ok := placeOf(parts[0], parts[1], parts[2])
	if !ok {
		return fmt.Errorf("%q is no tile", key)
	}
	_, err := m.cache.Refresh(ctx, key, func(ctx context.Context) ([]byte, error) { return m.draw(ctx, at) })
	return err
}

// tile answers with a tile. The header Server-Timing tells where it comes from, and Age how many
// seconds old it is.
func (m *Map) tile(w http.ResponseWriter, r *http.Request) {
	at, ok := placeOf(r.PathValue("zoom"), r.PathValue("x"), r.PathValue("y"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	began := time.Now()
	e, err := m.cache.GetOrCreateEntry(r.Context(), at.key(), func(ctx context.Context) ([]byte, error) { return m.draw(ctx, at) })
	took := float64(time.Since(began)) / float64(time.Millisecond)
	if err != nil {
		http.Error(w, "There is no such tile at the moment.", http.StatusServiceUnavailable)
		return
	}
	h := w.Header()
	h.Set("Server-Timing", fmt.Sprintf("cache;desc=%q;dur=%.3f", from[e.From], took))
	h.Set("Age", strconv.Itoa(int(max(e.Age(), 0).Seconds())))
	h.Set("Content-Type", "image/png")
	h.Set("Content-Length", strconv.Itoa(len(e.Value)))
	w.Write(e.Value)
}

func (m *Map) draw(ctx context.Context, at place) ([]byte, error) {
	timer := time.NewTimer(m.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	data, _, err := origin.Tile(ctx, at[0], at[1], at[2], Size)
	return data, err
}
