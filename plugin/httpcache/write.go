package httpcache

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile"
)

// write answers with a stored response, or with what was just made to be stored.
func (x *exchange) write(e *dogpile.Entry[*response]) {
	p, h := e.Value, x.w.Header()
	addHeader(h, p.Header)
	if e.From != dogpile.Created {
		h.Set("Age", strconv.FormatInt(int64((p.Age+e.Age())/time.Second), 10))
	}
	x.statusOf(e).add(h, x.id)
	writeBody(x.w, x.r, p)
}

// statusOf tells how the request came to its response.
func (x *exchange) statusOf(e *dogpile.Entry[*response]) cacheStatus {
	switch e.From {
	case dogpile.Created:
		return x.made()
	case dogpile.Waited:
		return cacheStatus{forwarded: x.why, collapsed: true}
	}
	return cacheStatus{hit: true, ttl: e.Value.Lifetime - e.Age()}
}

// writeBody writes the status and the body of p, or what r asks for of it. The header is there
// already.
func writeBody(w http.ResponseWriter, r *http.Request, p *response) {
	if p.Status == http.StatusOK && asksForPart(r.Header) {
		if unit := r.Header.Get("Range"); unit != "" && !strings.HasPrefix(unit, "bytes=") {
			r = r.Clone(r.Context())
			r.Header.Del("Range") // RFC 9110, section 14.2, which ServeContent does not know of
		}
		modified, _ := http.ParseTime(p.Header.Get("Last-Modified")) // or the zero time, which stands for none
		http.ServeContent(w, r, "", modified, bytes.NewReader(p.Body))
		return
	}
	h := w.Header()
	if p.Status != http.StatusNoContent && p.Status != http.StatusNotModified && h.Get("Content-Length") == "" {
		h.Set("Content-Length", strconv.Itoa(len(p.Body)))
	}
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(p.Body) // the client has gone if that fails
	}
}

// asksForPart reports whether a request asks for less than a whole response.
func asksForPart(h http.Header) bool {
	for _, name := range partial {
		if h.Get(name) != "" {
			return true
		}
	}
	return false
}
