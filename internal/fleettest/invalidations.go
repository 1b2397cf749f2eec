//go:build unix

package fleettest

import (
	"context"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// taggedTask is a storm in which a value lives until its tag is invalidated.
var taggedTask = task{Role: "storm", Procs: 8, Each: 50, Rest: 40 * time.Millisecond, LockTTL: 10 * time.Second, Tagged: true}

const stormTag = "storm"

// invalidations invalidates the tag of what all readers ask for, n times. Each time there
// has to be one creation. After a soft invalidation the readers get the old value until it
// ends, which is for the creator to see; after a hard one, none that calls then.
func invalidations(f *fleet, n int) {
	region := dogpile.NewRegion(f.task.Region)
	b, err := driver.Open(context.Background(), f.task.URL)
	if err != nil {
		f.fault("%v", err)
		return
	}
	defer func() {
		if err := driver.Close(b); err != nil {
			f.fault("%v", err)
		}
	}()
	if err := region.Configure(b, &dogpile.Options{TagScope: f.task.Region, BackendTimeout: patience}); err != nil {
		f.fault("%v", err)
		return
	}
	if !f.underWay() {
		return
	}
	for i := range n {
		mode := dogpile.Hard
		if i%2 == 0 {
			mode = dogpile.Soft
		}
		version := f.w.origin.Load()
		if err := region.InvalidateTags(context.Background(), mode, stormTag); err != nil {
			f.fault("InvalidateTags = %v", err)
		}
		if mode == dogpile.Hard {
			raise(&f.w.newest, version+1)
		}
		if !f.await("the new value to be stored", func() bool { return f.w.creation(version+1).outcome.Load() == isStored }) ||
			!f.served("the value is new") || !f.served("the value is new") {
			return
		}
		if made := f.w.origin.Load() - version; made != 1 {
			f.fault("%d creations when a tag was invalidated", made)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := region.Close(ctx); err != nil {
		f.fault("%v", err)
	}
}
