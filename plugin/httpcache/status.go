package httpcache

import (
	"net/http"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// cacheStatus is what a response's Cache-Status says; RFC 9211.
type cacheStatus struct {
	hit       bool
	ttl       time.Duration // of a hit; negative: it is stale by so much
	forwarded string        // why the handler was asked, if it was: its word for fwd
	status    int           // what the handler has answered, if it was asked whether a response still holds
	stored    bool
	collapsed bool // another request's answer was waited for
}

// add adds the status to what caches behind this one have said: the one nearest to the client
// is the last. id is the cache's name, which [identifier] has returned.
func (s cacheStatus) add(h http.Header, id any) {
	item := httpsfv.NewItem(id)
	p := item.Params
	if s.hit {
		p.Add("hit", true)
		p.Add("ttl", int64(s.ttl/time.Second))
	}
	if s.forwarded != "" {
		p.Add("fwd", httpsfv.Token(s.forwarded))
	}
	if s.status != 0 {
		p.Add("fwd-status", int64(s.status))
	}
	if s.stored {
		p.Add("stored", true)
	}
	if s.collapsed {
		p.Add("collapsed", true)
	}
	if text, err := httpsfv.Marshal(httpsfv.List{item}); err == nil {
		h.Add("Cache-Status", text)
	}
}

// identifier returns the name of a region as a member of Cache-Status: a token, or else a
// string, without the characters that neither may have.
func identifier(region string) any {
	if region == "" {
		return httpsfv.Token("dogpile")
	}
	if _, err := httpsfv.Marshal(httpsfv.NewItem(httpsfv.Token(region))); err == nil {
		return httpsfv.Token(region)
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, region)
}
