package dogpile_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// TestTagThatIsToldLate: the creator learns which tags its value has after it has read it.
//
//  1. A reads the origin, which says 1.  2. The origin changes, and the tag is invalidated in
//     another region of the process.  3. B calls, and joins A.  4. A learns of the tag.
//
// A gets what it has made; B, who came later, and everybody afterwards get the new value.
func TestTagThatIsToldLate(t *testing.T) {
	for _, bytes := range []bool{true, false} {
		for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft} {
			t.Run(fmt.Sprintf("%v/bytes %v", mode, bytes), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					regions, caches := processes[int](t, 2, newFake(t, like{bytes: bytes}), &dogpile.Options{Expiration: time.Hour})
					origin := 1
					create := func(ctx context.Context) (int, error) {
						v := origin
						time.Sleep(time.Second)
						dogpile.Creation(ctx).TagRead(ctx, t.Name(), t.Name()+" twice")
						dogpile.Creation(ctx).TagRead(ctx, t.Name()+" twice")
						return v, nil
					}
					a := start(get(caches[0], "k", create))
					pass(time.Second / 2)
					origin = 2
					wantErr(t, "InvalidateTags", regions[1].InvalidateTags(bg, mode, t.Name()), nil)
					b := start(get(caches[0], "k", create))
					r := <-a
					wantValue(t, "A", r.v, r.err, 1)
					r = <-b
					wantValue(t, "B", r.v, r.err, 2)
					wantTags(t, "afterwards", caches[1], "k", dogpile.Fresh, t.Name(), t.Name()+" twice")
					wantErr(t, "InvalidateTags", regions[0].InvalidateTags(bg, dogpile.Hard, t.Name()+" twice"), nil)
					wantTags(t, "when it was invalidated", caches[1], "k", dogpile.Invalidated, t.Name(), t.Name()+" twice")
				})
			})
		}
	}
}

// TestOtherTagsAreToldLate: what was invalidated before, or concerns other tags, does not count.
func TestOtherTagsAreToldLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		regions, caches := processes[int](t, 1, newFake(t, like{bytes: true}), &dogpile.Options{Expiration: time.Hour})
		wantErr(t, "InvalidateTags before", regions[0].InvalidateTags(bg, dogpile.Hard, t.Name()), nil)
		v, err := caches[0].GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
			wantErr(t, "InvalidateTags meanwhile", regions[0].InvalidateTags(bg, dogpile.Hard, "another"), nil)
			dogpile.Creation(ctx).TagRead(ctx, t.Name())
			return 1, nil
		})
		wantValue(t, "k", v, err, 1)
		wantTags(t, "afterwards", caches[0], "k", dogpile.Fresh, t.Name())
	})
}

// TestTagIsToldWhileItIsInvalidated: the invalidation began before the creation, and returns
// after the tag is told. Its delete may have been carried out before.
func TestTagIsToldWhileItIsInvalidated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake(t, like{bytes: true})
		regions, caches := processes[int](t, 2, f, &dogpile.Options{Expiration: time.Hour})
		f.slow = func(ctx context.Context, op string) error {
			if op == "delete" {
				time.Sleep(time.Second) // before it and after it
			}
			return nil
		}
		done := make(chan error, 1)
		go func() { done <- regions[1].InvalidateTags(bg, dogpile.Hard, t.Name()) }()
		pass(1500 * time.Millisecond)
		v, err := caches[0].GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
			dogpile.Creation(ctx).TagRead(ctx, t.Name())
			return 1, nil
		})
		wantValue(t, "k", v, err, 1)
		wantErr(t, "InvalidateTags", <-done, nil)
		wantTags(t, "afterwards", caches[1], "k", dogpile.Invalidated, t.Name())
	})
}

// TestManyTagsAreInvalidated: more than are remembered, so that all are taken for being.
func TestManyTagsAreInvalidated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		regions, caches := processes[int](t, 1, newFake(t, like{}), &dogpile.Options{Expiration: time.Hour})
		_, err := caches[0].GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
			for i := range 5000 {
				wantErr(t, "InvalidateTags", regions[0].InvalidateTags(bg, dogpile.Hard, fmt.Sprint("tag", i)), nil)
			}
			dogpile.Creation(ctx).TagRead(ctx, "tag0")
			return 1, nil
		})
		wantErr(t, "GetOrCreate", err, nil)
		wantTags(t, "afterwards", caches[0], "k", dogpile.Invalidated, "tag0")
	})
}

func ExampleControl_TagRead() {
	ctx := context.Background()
	region := exampleRegion("tagread", nil)
	articles := dogpile.NewCache[string](region, nil)
	fetch := func() (text string, about []string) { return "Tea is not coffee.", []string{"tea", "coffee"} }
	read := func(ctx context.Context) (string, error) {
		text, about := fetch()
		dogpile.Creation(ctx).TagRead(ctx, about...)
		return text, nil
	}
	_, _ = articles.GetOrCreate(ctx, "beverages", read)
	fmt.Println(region.InvalidateTags(ctx, dogpile.Hard, "coffee"))
	_, ok, _ := articles.Get(ctx, "beverages")
	fmt.Println(ok)
	// Output:
	// <nil>
	// false
}
