package httpcache

import (
	"cmp"
	"crypto/tls"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// canonicalKey returns the URL that a request is for, in one form of all that mean the same:
// scheme and host in lower case, without the scheme's own port (RFC 9110, section 4.2.3), with
// percent-encodings of unreserved characters decoded and others in upper case (RFC 3986,
// section 6.2.2), and with the parameters of the query sorted by name. Parameters of one name
// keep their order.
//
// It is the key of the resource: what deletes one spelling deletes all. Handlers can tell the
// spellings apart, other than those of the query, so that responses depend on [asSent] too.
func canonicalKey(r *http.Request) string {
	scheme := schemeOf(r)
	key := scheme + "://" + canonicalEscapes(canonicalHost(scheme, r.Host)) + canonicalEscapes(pathOf(r))
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		key += "?" + canonicalQuery(r.URL.RawQuery)
	}
	return key
}

// target returns all of a request's target that canonicalKey leaves out: as the handler sees it.
// A router looks for the host or the path byte by byte, and what it does not find must not be
// missing for those who have asked in other words.
func target(r *http.Request) string {
	if r.URL.Scheme == "" && r.URL.Host == "" && r.URL.User == nil && r.URL.Opaque == "" {
		return r.Host + "\x00" + r.URL.EscapedPath()
	}
	u := *r.URL // in absolute form
	u.RawQuery, u.ForceQuery = "", false
	return r.Host + "\x00\x00" + u.String()
}

// isTarget reports whether value is that of target for r. It may say no where it is, of requests
// in absolute form.
func isTarget(value string, r *http.Request) bool {
	host, path, _ := strings.Cut(value, "\x00")
	return r.URL.Scheme == "" && r.URL.Host == "" && r.URL.User == nil && r.URL.Opaque == "" &&
		host == r.Host && path == r.URL.EscapedPath()
}

func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// canonicalHost returns a host in lower case, without the scheme's own port.
func canonicalHost(scheme, host string) string {
	port := ":80"
	if scheme == "https" {
		port = ":443"
	}
	return strings.TrimSuffix(strings.ToLower(host), port)
}

// pathOf returns the path that the client has asked for, whatever was made of it since:
// http.StripPrefix leaves the handler the end.
func pathOf(r *http.Request) string {
	path := r.URL.EscapedPath()
	if rest, is := strings.CutPrefix(r.RequestURI, path); is && (rest == "" || rest[0] == '?') {
		return cmp.Or(path, "/") // as most are: without parsing it again
	}
	if u, err := url.ParseRequestURI(r.RequestURI); err == nil { // a server has read this request
		path = u.EscapedPath()
	}
	return cmp.Or(path, "/")
}

// canonicalQuery sorts parameters by their names, as a handler reads these. A parameter that is
// not encoded as it should be stays as it is: url.ParseQuery leaves it out.
func canonicalQuery(raw string) string {
	type parameter struct{ name, pair string }
	var all []parameter
	for pair := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if _, err := url.QueryUnescape(pair); err == nil {
			name, _ = url.QueryUnescape(name)
			pair = canonicalEscapes(pair)
		}
		all = append(all, parameter{name, pair})
	}
	slices.SortStableFunc(all, func(a, b parameter) int { return strings.Compare(a.name, b.name) })
	pairs := make([]string, len(all))
	for i, p := range all {
		pairs[i] = p.pair
	}
	return strings.Join(pairs, "&")
}

// canonicalEscapes decodes what need not be percent-encoded, writes the rest in upper case, and
// encodes what no URL has in it, which people write and clients encode.
func canonicalEscapes(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r == '%' || isForeign(r) }) {
		return s
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			if c = unhex(s[i+1])<<4 | unhex(s[i+2]); isUnreserved(c) {
				b.WriteByte(c)
			} else {
				b.Write([]byte{'%', digits[c>>4], digits[c&15]})
			}
			i += 2
		case isForeign(rune(c)):
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// isForeign reports whether a character, or a byte, is in no part of a URL; RFC 3986, appendix A.
func isForeign(c rune) bool {
	return c <= ' ' || c >= 0x7f || strings.ContainsRune("\"<>\\^`{|}", c)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// isUnreserved is RFC 3986, section 2.3.
func isUnreserved(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// requestFor returns a request as a client would make it for u, for [Options.Key] to look at.
func requestFor(u *url.URL) *http.Request {
	r := &http.Request{
		Method: http.MethodGet, URL: u, Host: u.Host, RequestURI: u.RequestURI(), Header: make(http.Header),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody,
	}
	if strings.EqualFold(u.Scheme, "https") {
		r.TLS = new(tls.ConnectionState)
	}
	return r
}
