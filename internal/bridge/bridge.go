// Package bridge lets package dogpiletest do with a region what is not for
// programs to do.
package bridge

import "github.com/dogpile-go/dogpile/driver"

// Swap gives region, a *dogpile.Region, another backend and options, a
// *dogpile.Options, in place of those that it has, if it has any. restore puts
// these back, whatever has become of the region meanwhile, and returns an error
// if it was closed. What the region had opened itself stays open; what it opens in
// between is closed. Package dogpile sets Swap.
var Swap func(region any, b driver.Backend, options any) (restore func() error, err error)
