package httpcache

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/codec/cbor"
)

// schema changes with the stored form of a response.
const schema = "http/1"

// response is what is kept under a key. It is never changed: caches in memory hand the same
// one to everybody.
type response struct {
	Status int
	Header http.Header
	Body   []byte

	// Vary names what the response depends on, and Values are those that it was made for.
	Vary, Values []string
	// Variants is what the keys of other variants begin with, after the resource's own. It is
	// drawn when the resource is cached for the first time, and again after it was deleted:
	// variants that were made before cannot be found any more.
	Variants string

	Age        time.Duration // when it was stored
	Lifetime   time.Duration // from then on
	Revalidate time.Duration // see judgement
	IfError    time.Duration

	// Passed is true of what stands for a response that was not stored: requests that it
	// matches are not worth waiting for each other.
	Passed bool
	// Validated is true of a response that the handler has to be asked about each time.
	Validated bool

	// What is below is not stored: it concerns those who wait.

	unstorable bool  // it may not be stored, or is not whole
	personal   bool  // a failure that was made for a client with a cookie: others are told the status alone
	panicked   error // a *dogpile.PanicError: the handler did not return
}

// matches reports whether the response may be the answer to r, as far as Vary is concerned;
// RFC 9111, section 4.1. Values are compared byte by byte: a handler sees more differences
// than the grammar of a header does.
func (p *response) matches(r *http.Request) bool {
	return slices.Equal(p.Values, selected(r, p.Vary))
}

// Names that stand for whether a request has a header at all.
const (
	hasOrigin        = ":origin"
	hasAuthorization = ":authorization"
)

// selected returns the values of what a response depends on.
func selected(r *http.Request, names []string) []string {
	values := make([]string, len(names))
	for i, name := range names {
		switch name {
		case hasOrigin:
			values[i] = fmt.Sprint(r.Header.Get("Origin") != "")
		case hasAuthorization:
			values[i] = fmt.Sprint(r.Header.Get("Authorization") != "")
		case "Host":
			values[i] = r.Host
		default:
			// No value has a line feed in it.
			values[i] = strings.Join(r.Header[name], "\n")
		}
	}
	return values
}

// variantKey returns the key under which a resource's response for such values is kept.
func (p *response) variantKey(resource string, names, values []string) string {
	h := sha256.New()
	for i, name := range names {
		fmt.Fprintf(h, "%s\n%d\n%s\n", name, len(values[i]), values[i])
	}
	return resource + " " + p.Variants + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func newVariants() string { return rand.Text() }

// headersNotStored are those of RFC 9111, section 3.1: they concern one connection.
var headersNotStored = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Cache-Status",
}

// stored returns the part of a header that may be stored, as a copy. now is its Date if it
// has none.
func storable(h http.Header, now time.Time) http.Header {
	h = h.Clone()
	for _, name := range listOf(h.Values("Connection")) {
		h.Del(name)
	}
	for _, name := range headersNotStored {
		h.Del(name)
	}
	if h.Get("Date") == "" {
		h.Set("Date", now.UTC().Format(http.TimeFormat))
	}
	return h
}

// bodyHeaders describe the stored body: a 304 does not change them.
var bodyHeaders = []string{"Content-Encoding", "Content-Length", "Content-Md5", "Content-Range", "Etag"}

// updated returns the header of p as a 304 changes it; RFC 9111, section 3.2.
func (p *response) updated(by http.Header, now time.Time) http.Header {
	h := p.Header.Clone()
	for name, values := range storable(by, now) {
		if !slices.Contains(bodyHeaders, name) {
			h[name] = values
		}
	}
	if by.Get("Age") == "" {
		h.Del("Age")
	}
	return h
}

// validators returns the headers that ask a handler whether p still holds.
func (p *response) validators() http.Header {
	h := make(http.Header)
	if tag := p.Header.Get("ETag"); tag != "" {
		h.Set("If-None-Match", tag)
	}
	if t := p.Header.Get("Last-Modified"); t != "" {
		h.Set("If-Modified-Since", t)
	}
	return h
}

// codec writes responses as CBOR. Header values may be any bytes, which text in CBOR, as in
// JSON, may not.
type codec struct{}

// wire is the stored form of a response.
type wire struct {
	Status              int
	Header              [][2][]byte
	Body                []byte
	Vary                []string
	Values              [][]byte
	Variants            string
	Age, Lifetime       time.Duration
	Revalidate, IfError time.Duration
	Passed, Validated   bool
}

func (codec) Append(dst []byte, v any) ([]byte, error) {
	p, ok := v.(*response)
	if !ok || p == nil {
		return dst, fmt.Errorf("httpcache: %T is no response", v)
	}
	w := wire{
		Status: p.Status, Body: p.Body, Vary: p.Vary, Variants: p.Variants, Age: p.Age, Lifetime: p.Lifetime,
		Revalidate: p.Revalidate, IfError: p.IfError, Passed: p.Passed, Validated: p.Validated,
	}
	for _, value := range p.Values {
		w.Values = append(w.Values, []byte(value))
	}
	for name, values := range p.Header {
		for _, value := range values {
			w.Header = append(w.Header, [2][]byte{[]byte(name), []byte(value)})
		}
	}
	return cbor.Codec.Append(dst, w)
}

func (codec) Decode(data []byte, v any) error {
	into, ok := v.(**response)
	if !ok {
		return fmt.Errorf("httpcache: %T is no response", v)
	}
	var w wire
	if err := cbor.Codec.Decode(data, &w); err != nil {
		return err
	}
	if len(w.Vary) != len(w.Values) {
		return fmt.Errorf("httpcache: %d values for %d names", len(w.Values), len(w.Vary))
	}
	p := &response{
		Status: w.Status, Body: w.Body, Vary: w.Vary, Variants: w.Variants, Age: w.Age, Lifetime: w.Lifetime,
		Revalidate: w.Revalidate, IfError: w.IfError, Passed: w.Passed, Validated: w.Validated,
		Header: make(http.Header, len(w.Header)),
	}
	for _, value := range w.Values {
		p.Values = append(p.Values, string(value))
	}
	for _, field := range w.Header {
		name := string(field[0])
		p.Header[name] = append(p.Header[name], string(field[1]))
	}
	*into = p
	return nil
}
