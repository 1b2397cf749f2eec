package httpcache_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// TestStaleByOption: what the options say of stale responses counts where the response says
// nothing, and nowhere against it.
func TestStaleByOption(t *testing.T) {
	for _, row := range []struct {
		control               string
		whileRenewed, ifFails bool
	}{
		{"max-age=10", true, true},
		{"max-age=10, stale-while-revalidate=0", false, true},
		{"max-age=10, stale-if-error=0", true, false},
		{"max-age=10, must-revalidate", false, false},
		{"max-age=10, proxy-revalidate", false, false},
		{"s-maxage=10", false, false},
		{"s-maxage=10, stale-while-revalidate=30", true, false},
	} {
		t.Run(row.control, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := &httpcache.Options{StaleWhileRevalidate: 30 * time.Second, StaleIfError: time.Hour}
				down := false
				s := newSite(t, nil, o, &dogpile.Options{Runner: dogpile.Background}, func(w http.ResponseWriter, _ *http.Request) {
					if down {
						http.Error(w, "down", http.StatusServiceUnavailable)
						return
					}
					w.Header().Set("Cache-Control", row.control)
					_, _ = io.WriteString(w, "up")
				})
				s.do("GET /a")
				s.do("GET /b")
				down = true
				pass(20 * time.Second)
				// A stale one that may only stand in is one too, once the handler has failed.
				if got := s.do("GET /a").StatusCode == http.StatusOK; got != (row.whileRenewed || row.ifFails) {
					t.Errorf("served while it is renewed: %v, want %v", got, row.whileRenewed)
				}
				pass(20 * time.Second)
				if got := s.do("GET /b").StatusCode == http.StatusOK; got != row.ifFails {
					t.Errorf("served although the handler fails: %v, want %v", got, row.ifFails)
				}
			})
		})
	}
}

// TestKeepFor: for how long a stale response is kept to be asked about.
func TestKeepFor(t *testing.T) {
	for keep, asked := range map[time.Duration]bool{0: true, time.Hour: false, dogpile.Never: false} {
		bubble(t, func(t *testing.T) {
			condition := ""
			s := newSite(t, nil, &httpcache.Options{KeepFor: keep}, nil, func(w http.ResponseWriter, r *http.Request) {
				condition = r.Header.Get("If-None-Match")
				w.Header().Set("Cache-Control", "max-age=10")
				w.Header().Set("ETag", `"1"`)
			})
			s.do("GET /")
			pass(2 * time.Hour)
			s.do("GET /")
			if got := condition != ""; got != asked {
				t.Errorf("KeepFor %v: the handler is asked whether it holds: %v, want %v", keep, got, asked)
			}
		})
	}
}
