package httpcache

import (
	"net/http"
	"strconv"
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
func (s cacheStatus) add(h http.Header, id string) {
	text := make([]byte, 0, 64)
	text = append(text, id...)
	if s.hit {
		text = strconv.AppendInt(append(text, ";hit;ttl="...), int64(s.ttl/time.Second), 10)
	}
	if s.forwarded != "" {
		text = append(append(text, ";fwd="...), s.forwarded...)
	}
	if s.status != 0 {
		text = strconv.AppendInt(append(text, ";fwd-status="...), int64(s.status), 10)
	}
	if s.stored {
		text = append(text, ";stored"...)
	}
	if s.collapsed {
		text = append(text, ";collapsed"...)
	}
	h.Add("Cache-Status", string(text))
}

// identifier returns the name of a region as a member of Cache-Status: a token, or else a
// string, without the characters that neither may have.
func identifier(region string) string {
	if region == "" {
		return "dogpile"
	}
	if token, err := httpsfv.Marshal(httpsfv.NewItem(httpsfv.Token(region))); err == nil {
		return token
	}
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, region)
	text, _ := httpsfv.Marshal(httpsfv.NewItem(ascii)) // any printable ASCII is a string
	return text
}
