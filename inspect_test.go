package dogpile_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

// product is a type that Inspect knows nothing of.
type product struct {
	Name  string
	Price int
}

// TestInspectTellsOfEntriesOfAnyType: whatever cache has stored them.
func TestInspectTellsOfEntriesOfAnyType(t *testing.T) {
	kinds := map[string]func(t *testing.T) driver.Backend{
		"objects": func(t *testing.T) driver.Backend { return newMemory(t) },
		"bytes":   func(t *testing.T) driver.Backend { return newFake(t, like{bytes: true}) },
	}
	for kind, backend := range kinds {
		for name, row := range map[string]struct {
			o      *dogpile.CacheOptions[product]
			err    error // of the creator
			after  func(t *testing.T, r *dogpile.Region)
			state  dogpile.State
			reason dogpile.Reason
			absent bool
		}{
			"fresh":       {},
			"of a schema": {o: &dogpile.CacheOptions[product]{Schema: "2"}},
			"tagged":      {o: &dogpile.CacheOptions[product]{Tags: func(string) []string { return []string{"t", "u"} }}},
			"not found, and softly invalidated": {
				o: notFoundFor(time.Minute), err: sql.ErrNoRows,
				after: func(t *testing.T, r *dogpile.Region) { wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Soft), nil) },
				state: dogpile.Stale, reason: dogpile.ReasonInvalidated,
			},
			"not found, of a tag that is invalidated": {
				o: notFoundFor(time.Minute), err: sql.ErrNoRows,
				after: func(t *testing.T, r *dogpile.Region) {
					wantErr(t, "InvalidateTags", r.InvalidateTags(bg, dogpile.Hard, "t"), nil)
				},
				state: dogpile.Invalidated, reason: dogpile.ReasonTagged,
			},
			"not found, long ago": {
				o: notFoundFor(time.Minute), err: sql.ErrNoRows,
				after: func(*testing.T, *dogpile.Region) { pass(90 * time.Second) },
				state: dogpile.Stale, reason: dogpile.ReasonExpired,
			},
			"not found": {o: notFoundFor(time.Minute), err: sql.ErrNoRows},
			"expired": {
				after: func(*testing.T, *dogpile.Region) { pass(90 * time.Second) },
				state: dogpile.Stale, reason: dogpile.ReasonExpired,
			},
			"softly invalidated": {
				after: func(t *testing.T, r *dogpile.Region) { wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Soft), nil) },
				state: dogpile.Stale, reason: dogpile.ReasonInvalidated,
			},
			"deleted": {
				after:  func(t *testing.T, r *dogpile.Region) { wantErr(t, "Delete", r.Delete(bg, "k"), nil) },
				reason: dogpile.ReasonAbsent, absent: true,
			},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRegion(t, unending{driver.Proxy{Backend: backend(t)}}, &dogpile.Options{Expiration: time.Minute})
					c, want := dogpile.NewCache(r, row.o), product{"lamp", 42}
					_, err := c.GetOrCreate(bg, "k", func(context.Context) (product, error) { pass(time.Second); return want, row.err })
					wantErr(t, "GetOrCreate", err, row.err)
					pass(time.Second)
					before := r.Stats()
					if row.after != nil {
						row.after(t, r)
						before = r.Stats()
					}
					got, ok, err := r.Inspect(bg, "k")
					if err != nil || ok == row.absent || got.Reason != row.reason {
						t.Fatalf("%+v, %v, %v", got, ok, err)
					}
					if r.Stats() != before {
						t.Errorf("it is counted: %+v", r.Stats())
					}
					if row.absent {
						return
					}
					wantStored(t, got, kind, row.o, row.err != nil, want)
					if got.State != row.state {
						t.Errorf("it is %v", got.State)
					}
				})
			})
		}
	}
}

func notFoundFor(d time.Duration) *dogpile.CacheOptions[product] {
	return &dogpile.CacheOptions[product]{NotFound: sql.ErrNoRows, NotFoundFor: d, Tags: func(string) []string { return []string{"t"} }}
}

// unending keeps what it is given for longer than it is told to, as a backend may.
type unending struct{ driver.Proxy }

func (u unending) Set(ctx context.Context, items []driver.Item) error {
	kept := slices.Clone(items)
	for i := range kept {
		kept[i].TTL = 0
	}
	err := u.Proxy.Set(ctx, kept)
	for i := range items {
		items[i].Err = kept[i].Err
	}
	return err
}

// wantStored checks what does not change with time.
func wantStored(t *testing.T, got dogpile.Stored, kind string, o *dogpile.CacheOptions[product], notFound bool, want product) {
	t.Helper()
	var tags []string
	schema := ""
	if o != nil {
		schema = o.Schema
		if o.Tags != nil {
			tags = o.Tags("k")
		}
	}
	if !slices.Equal(got.Tags, tags) || got.Schema != schema || got.NotFound != notFound || got.Took != time.Second && !notFound {
		t.Errorf("%+v", got)
	}
	// As old as the region serves it, less its age.
	if ttl := got.TTL + got.Age(); (ttl-2*time.Minute).Abs() > time.Second && !notFound {
		t.Errorf("TTL and age make %v", ttl)
	}
	switch value := got.Value.(type) {
	case product:
		if kind != "objects" || value != want || got.Size != 0 {
			t.Errorf("%+v", got)
		}
	case []byte:
		if kind != "bytes" || string(value) != `{"Name":"lamp","Price":42}` || got.Size <= len(value) {
			t.Errorf("%q in %d bytes", value, got.Size)
		}
	default:
		if !notFound || value != nil {
			t.Errorf("a %T", value)
		}
	}
}

func TestInspectOfWhatIsNoEntry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		r := newRegion(t, b, nil)
		put(t, b, "k", "garbage")
		if got, ok, err := r.Inspect(bg, "k"); err != nil || ok || got.Reason != dogpile.ReasonDamaged {
			t.Errorf("%+v, %v, %v", got, ok, err)
		}
		b.in(failing("get"))
		_, _, err := r.Inspect(bg, "k")
		wantErr(t, "with a backend that fails", err, dogpile.ErrBackend)
		_, _, err = new(dogpile.Region).Inspect(bg, "k")
		wantErr(t, "of a region that is not configured", err, dogpile.ErrNotConfigured)
	})
}

// TestInspectTellsWhatIsLeft: 0 means that no time ends the entry, and nothing else.
func TestInspectTellsWhatIsLeft(t *testing.T) {
	for name, row := range map[string]struct {
		expiration, age, want time.Duration
	}{
		"some time is left":         {time.Minute, 90 * time.Second, 30 * time.Second},
		"it has passed":             {time.Minute, time.Hour, 1},
		"it passes at this instant": {time.Minute, 2 * time.Minute, 1},
		"no time ends it":           {dogpile.Never, time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := unending{driver.Proxy{Backend: newFake(t, like{bytes: true})}}
				r := newRegion(t, b, &dogpile.Options{Expiration: row.expiration})
				wantErr(t, "Set", dogpile.NewCache[int](r, nil).Set(bg, "k", 1), nil)
				pass(row.age)
				got, ok, err := r.Inspect(bg, "k")
				if !ok || err != nil || (got.TTL-row.want).Abs() > time.Microsecond || row.want > 0 && got.TTL == 0 || row.want == 0 && got.TTL != 0 {
					t.Errorf("TTL = %v, want %v; %v, %v", got.TTL, row.want, ok, err)
				}
			})
		})
	}
}

// TestInspectLeavesCopiesAlone: a copy of bytes would be none for those who ask for values.
func TestInspectLeavesCopiesAlone(t *testing.T) {
	alone(t, func(t *testing.T) {
		p := nearProcesses(t, 1, nearly(time.Second), true)[0]
		wantErr(t, "Set", p.Set(bg, "k", "v"), nil)
		for range 3 {
			p.gets(t, "k", "v")
			if got, ok, err := p.Inspect(bg, "k"); !ok || err != nil || string(got.Value.([]byte)) != `"v"` {
				t.Errorf("%+v, %v, %v", got, ok, err)
			}
		}
		if s := p.Stats(); s.Copies != 1 || s.NearHits != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func ExampleRegion_Inspect() {
	backend, _ := memory.New(&memory.Options{Copy: true})
	region := dogpile.NewRegion("users")
	if err := region.Configure(backend, &dogpile.Options{Expiration: time.Hour}); err != nil {
		fmt.Println(err)
		return
	}
	type user struct{ Name string }
	users := dogpile.NewCache(region, &dogpile.CacheOptions[user]{Tags: func(key string) []string { return []string{"user:" + key} }})
	if err := users.Set(context.Background(), "42", user{"Ann"}); err != nil {
		fmt.Println(err)
		return
	}
	found, ok, err := region.Inspect(context.Background(), "42") // whatever the type is
	fmt.Println(ok, err, found.State, found.Tags)
	fmt.Printf("%s\n", found.Value)
	// Output:
	// true <nil> fresh [user:42]
	// {"Name":"Ann"}
}

// TestInspectOfAnEntryThatShouldBeGone: a TTL of 0 has one meaning, that no time ends the entry.
func TestInspectOfAnEntryThatShouldBeGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegion(t, untimed{newMemory(t)}, &dogpile.Options{Expiration: time.Minute})
		c := dogpile.NewCache(r, &dogpile.CacheOptions[product]{Expiration: time.Hour})
		wantErr(t, "Set", c.Set(bg, "k", product{}), nil)
		for _, row := range []struct {
			after time.Duration
			want  time.Duration
		}{{0, 2 * time.Minute}, {90 * time.Second, 30 * time.Second}, {30 * time.Second, 1}, {time.Minute, 1}} {
			pass(row.after)
			if got, ok, err := r.Inspect(bg, "k"); !ok || err != nil || got.TTL != row.want {
				t.Errorf("TTL %v at the age of %v, want %v; %v, %v", got.TTL, got.Age(), row.want, ok, err)
			}
		}
		for name, o := range map[string]dogpile.Options{"no Expiration": {}, "StaleFor": {Expiration: time.Minute, StaleFor: dogpile.Never}} {
			ever := newRegion(t, untimed{newMemory(t)}, &o)
			wantErr(t, "Set", dogpile.NewCache[product](ever, nil).Set(bg, "k", product{}), nil)
			pass(time.Hour)
			if got, ok, err := ever.Inspect(bg, "k"); !ok || err != nil || got.TTL != 0 {
				t.Errorf("%s: TTL %v; %v, %v", name, got.TTL, ok, err)
			}
		}
	})
}

// untimed is a backend that does not tell what is left of a TTL.
type untimed struct{ driver.Backend }

// Get implements driver.Backend.
func (u untimed) Get(ctx context.Context, items []driver.Item) error {
	err := u.Backend.Get(ctx, items)
	for i := range items {
		items[i].TTL = 0
	}
	return err
}

// Caps implements driver.Describer.
func (u untimed) Caps() driver.Caps { return driver.CapsOf(u.Backend) }
