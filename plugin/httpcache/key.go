package httpcache

import (
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
// keep their order. Nothing else is changed: two requests that a handler can tell apart in
// another way have different keys.
func canonicalKey(r *http.Request) string {
	scheme := schemeOf(r)
	key := scheme + "://" + canonicalEscapes(canonicalHost(scheme, r.Host)) + canonicalEscapes(pathOf(r))
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		key += "?" + canonicalQuery(r.URL.RawQuery)
	}
	return key
}

func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// canonicalHost returns a host in lower case, without the scheme's own port.
func canonicalHost(scheme, host string) string {
	port := map[string]string{"http": ":80", "https": ":443"}[scheme]
	return strings.TrimSuffix(strings.ToLower(host), port)
}

// pathOf returns the path that the client has asked for, of which http.StripPrefix leaves the
// handler the end. A path that was rewritten in another way comes with it.
func pathOf(r *http.Request) string {
	path := r.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(r.RequestURI, path); ok && (rest == "" || rest[0] == '?') {
		return path
	}
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil {
		return path // no server has read this request
	}
	if sent := u.EscapedPath(); strings.HasSuffix(sent, path) {
		return sent
	}
	return u.EscapedPath() + " " + path
}

func canonicalQuery(raw string) string {
	pairs := strings.Split(canonicalEscapes(raw), "&")
	slices.SortStableFunc(pairs, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return strings.Compare(a, b)
	})
	return strings.Join(pairs, "&")
}

// canonicalEscapes decodes what need not be percent-encoded, and writes the rest in upper
// case. What is no percent-encoding stays as it is. A space, which could end a key early, is
// encoded.
func canonicalEscapes(s string) string {
	if !strings.ContainsAny(s, "% ") {
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
		case c == ' ':
			b.WriteString("%20")
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
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
