package dashboard

import (
	"context"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/dogpile-go/dogpile"
)

// action changes something in a region, as a form says, and returns the word for what was
// done: one of those in done.
type action func(ctx context.Context, p place, form url.Values) (did string, err error)

// done is what a page says after an action. The word for it is in the address, where anybody
// may put one: so that it stands for a sentence, and is none itself.
var done = map[string]string{
	"hard":   "Every entry of the region is invalid now.",
	"soft":   "Every entry of the region is stale now.",
	"tag":    "Every entry with the tag is invalid or stale now.",
	"delete": "The entry is deleted.",
	"renew":  "The entry was created anew.",
}

const maxForm = 64 << 10 // bytes

var errUnknownAction = errors.New("the form asks for nothing that can be done here")

// act does what a form asks for, and shows the page again.
func (d *Dashboard) act(w http.ResponseWriter, r *http.Request, change action) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if !d.known(r.Host) {
		d.fail(w, r, http.StatusForbidden, "The dashboard is not known as "+r.Host+". If it should be, the program has to say so: Options.Hosts.")
		return
	}
	// The browser tells that the form is from here, in most cases; the token tells it in all.
	if err := d.cross.Check(r); err != nil {
		d.fail(w, r, http.StatusForbidden, "The form is from another site.")
		return
	}
	if subtle.ConstantTimeCompare([]byte(r.FormValue("token")), []byte(d.token)) != 1 {
		d.fail(w, r, http.StatusForbidden, "The form is not from here, or from before a restart. Go back, load the page again, and repeat.")
		return
	}
	p, ok := d.find(r)
	if !ok {
		d.fail(w, r, http.StatusNotFound, "There is no such region.")
		return
	}
	did, err := change(r.Context(), p, r.Form)
	switch {
	case errors.Is(err, errUnknownAction):
		d.fail(w, r, http.StatusBadRequest, err.Error())
	case err != nil:
		d.fail(w, r, http.StatusBadGateway, err.Error())
	default:
		at := p.at("region", "did", did)
		if q := r.URL.Query(); q.Has("key") {
			at = p.at("key", "key", q.Get("key"), "did", did)
		}
		// http.Redirect would make an absolute path of it, without the prefix that was
		// stripped.
		w.Header().Set("Location", at)
		w.WriteHeader(http.StatusSeeOther)
	}
}

// known reports whether host is one that pages may be served as when they change something. A
// page of another site whose name is made to lead here (DNS rebinding) is of the same origin to
// the browser, and could read the token: its name gives it away.
func (d *Dashboard) known(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		slices.ContainsFunc(d.o.Hosts, func(known string) bool { return strings.EqualFold(known, host) })
}

// changeRegion invalidates a region, or a tag.
func (d *Dashboard) changeRegion(ctx context.Context, p place, form url.Values) (string, error) {
	mode, name := dogpile.Soft, form.Get("mode")
	switch name {
	case "hard":
		mode = dogpile.Hard
	case "soft":
	default:
		return "", errUnknownAction
	}
	switch form.Get("action") {
	case "invalidate":
		return name, p.region.Invalidate(ctx, mode)
	case "tag":
		return "tag", p.region.InvalidateTags(ctx, mode, form.Get("tag"))
	}
	return "", errUnknownAction
}

// changeKey deletes or renews an entry, or invalidates one of its tags.
func (d *Dashboard) changeKey(ctx context.Context, p place, form url.Values) (string, error) {
	key := form.Get("key")
	switch what := form.Get("action"); {
	case what == "delete":
		return "delete", p.region.Delete(ctx, key)
	case what == "renew" && d.o.Renew != nil:
		return "renew", d.o.Renew(ctx, p.region, key)
	case what == "tag":
		return d.changeRegion(ctx, p, form)
	}
	return "", errUnknownAction
}
