package httpcache

import (
	"bytes"
	"net/http"
	"slices"
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

// copyHeader sets what src has. Outer handlers may have set more.
func copyHeader(dst, src http.Header) {
	n := 0
	for _, values := range src {
		n += len(values)
	}
	all := make([]string, 0, n) // one allocation for the copies of all
	for name, values := range src {
		from := len(all)
		all = append(all, values...)
		dst[name] = all[from:len(all):len(all)]
	}
}

// addedTo are the headers that handlers add to what others have said.
var addedTo = [...]string{"Vary", "Set-Cookie", "Link", "Server-Timing"}

// addHeader is copyHeader for the header of a handler that has not seen dst: what outer handlers
// have said stays where it would have stayed.
func addHeader(dst, src http.Header) {
	var said [len(addedTo)][]string
	for i, name := range addedTo {
		if _, is := src[name]; is {
			said[i] = dst[name]
		}
	}
	copyHeader(dst, src)
	for i, name := range addedTo {
		if len(said[i]) > 0 {
			dst[name] = slices.Concat(said[i], dst[name])
		}
	}
}
