// Package scan is what all implementations of [driver.Scanner] have in common.
package scan

import (
	"context"
	"iter"

	"github.com/dogpile-go/dogpile/driver"
)

// Page is how many entries or leases are looked at at a time, or about as many.
const Page = 256

// Each hands what is on pages to found, as [driver.Scanner] wants it. closed returns an error once
// the backend is closed. A page may be empty: ctx and closed are asked before each. The error of
// a page ends it.
func Each(ctx context.Context, closed func() error, pages iter.Seq2[[]driver.Found, error], found func(driver.Found) bool) error {
	over := func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return closed()
	}
	if err := over(); err != nil {
		return err
	}
	for page, err := range pages {
		if err := over(); err != nil {
			return err // and not what it has made of the page
		}
		if err != nil {
			return err
		}
		for _, f := range page {
			// found, or somebody else, may have ended it since the page was read.
			if err := over(); err != nil {
				return err
			}
			if !found(f) {
				return nil
			}
		}
	}
	return nil
}
