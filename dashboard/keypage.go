package dashboard

import (
	"context"
	"net/http"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// keyPage is what the page of a key shows.
type keyPage struct {
	page
	Region   string
	RegionAt string
	Action   string // where forms go to
	Key      shownKey
	Whole    string // of a key that is cut
	Problem  string // why the entry could not be read

	Found  bool
	Entry  dogpile.Stored
	Tags   []tag
	Schema *shownKey // nil: there is none
	Value  shownValue
	Hidden bool // values are not shown

	Overdue bool // it is there longer than the settings of the region tell

	Lock     lock
	CanRenew bool
}

// tag is a tag of an entry.
type tag struct {
	Text   shownKey
	Action string // where forms about it go to
}

// lock is the lock of a key.
type lock struct {
	Held    bool
	Holder  string    // who holds it; "": nobody knows
	Here    bool      // the creator runs in this process
	Since   time.Time // and since when
	Waiters int       // and so many wait for it
	Problem string    // why nothing is known
}

func (d *Dashboard) keyPage(r *http.Request, p place) keyPage {
	key := r.URL.Query().Get("key")
	v := keyPage{
		page: d.page(r, "Key in "+name(p.region)), Region: name(p.region), RegionAt: p.at("region"),
		Action: p.keyAt(key), Key: showKey(key, keyInTitle), CanRenew: d.o.Renew != nil, Hidden: d.o.HideValues,
	}
	if v.Key.Bytes > 0 {
		v.Whole = showKey(key, maxKey).Text
	}
	var err error
	if v.Entry, v.Found, err = p.region.Inspect(r.Context(), key); err != nil {
		v.Problem = visible(cut(err.Error(), maxText))
		return v
	}
	v.Lock = lockOf(r.Context(), p.region, key)
	if !v.Found {
		return v
	}
	// A moment is what is left where the backend does not tell what is.
	v.Overdue = v.Entry.TTL == 1
	if s := v.Entry.Schema; s != "" {
		shown := showKey(s, keyInTable)
		v.Schema = &shown
	}
	for _, name := range v.Entry.Tags {
		v.Tags = append(v.Tags, tag{showKey(name, keyInTable), p.at("key", "key", key, "tag", name)})
	}
	if !d.o.HideValues && !v.Entry.NotFound {
		v.Value = showValue(v.Entry.Value)
	}
	return v
}

// lockOf tells who is at work on a key.
func lockOf(ctx context.Context, r *dogpile.Region, key string) (l lock) {
	who, held, err := r.Holder(ctx, key)
	if err != nil {
		l.Problem = visible(cut(err.Error(), maxText))
	}
	if l.Held = held; held && who != (driver.Holder{}) {
		l.Holder = who.String()
	}
	for _, c := range r.Creating() {
		if c.Key == key {
			l.Here, l.Since, l.Waiters = true, c.Since, c.Waiters
		}
	}
	return l
}
