//go:build unix

package fleettest

import "fmt"

// A history is about things, which have numbers: the entries of caches, and the data that
// a tag stands for. A read of an entry is a read of that, and of the data of each product
// that it was made of. The data counts twice: a soft invalidation is a change for those
// reads alone that call what they have found fresh.
const (
	keys      = 5 // of entries without tags
	products  = 3 // each has a tag, and is made of the data that this stands for
	fragments = 3 // each is made of two products
	pages     = 2 // each is made of two fragments

	thingKey      = 0
	thingProduct  = thingKey + keys
	thingFragment = thingProduct + products
	thingPage     = thingFragment + fragments
	thingNote     = thingPage + pages     // what the creator of a page stores apart
	thingData     = thingNote + pages     // of a product
	thingFresh    = thingData + products  // the same, for reads that call it fresh
	things        = thingFresh + products // how many there are
)

// kinds are the kinds of things, by the first of each.
var kinds = []struct {
	first int64
	name  string
}{
	{thingKey, "key"}, {thingProduct, "product"}, {thingFragment, "fragment"}, {thingPage, "page"}, {thingNote, "note"},
	{thingData, "data of product"}, {thingFresh, "fresh data of product"},
}

// kind returns the kind of a thing, and its number among those.
func kind(thing int64) (name string, i int64) {
	for _, k := range kinds {
		if thing >= k.first {
			name, i = k.name, thing-k.first
		}
	}
	return name, i
}

// called returns what a thing is called in messages.
func called(thing int64) string {
	name, i := kind(thing)
	return fmt.Sprint(name, " ", i)
}
