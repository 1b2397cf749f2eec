// Package dogpile is a caching front end built on the dogpile lock: while an
// entry is fresh everybody reads it; when it expires one creator makes the new
// value, in this process or any other that shares the backend, and everybody
// else goes on reading the old one; when there is no old one they wait for that
// one creator. (Other libraries call the creator a loader.)
//
// A [Region] is a cache with its configuration. It is made at package level and
// configured later, when the program knows its backend:
//
//	var region = dogpile.NewRegion("users")
//	var loadUser = dogpile.NewFunc(region, "user", db.LookupUser, nil)
//
//	func main() {
//		backend, err := memory.New(nil)
//		err = region.Configure(backend, &dogpile.Options{Expiration: time.Hour})
//		u, err := loadUser.Call(ctx, 42)
//	}
//
// A [Cache] is a typed view of a region, with keys of the user's choice. A
// [Func] is a function whose results are cached under keys made of its
// arguments.
//
// # States of an entry
//
// An entry is fresh until it is older than [Options.Expiration] or invalidated.
// Then it is stale, for as long as [Options.StaleFor] says: it is still returned,
// at once, to all but the one caller that creates the new value. After that, or
// once it is invalidated with [Hard], it is missing, and callers wait.
//
// # Tags
//
// A creator gives its value tags with [Control.Tag], or the cache does with
// [CacheOptions].Tags, and [Region.InvalidateTags] reaches all values with a tag, and all
// that was made of one: a creator that reads other cached values inherits their tags.
//
// # When things fail
//
// The error of a creator goes to everybody who waited for it. A backend that
// cannot be reached costs the application its cache but not its function:
// GetOrCreate runs the creator, one at a time for each key in this process, and
// does not store the value. A Delete or Invalidate that could not be carried
// out is always an error, and [Options.RetryDeletes] has it tried again. Errors that
// no caller gets go to the log, [Options.Logger], which is on by default; to [Hooks];
// and into [Stats].
//
// # Settings
//
// [Setup] configures the regions of a program from a settings file, the environment
// and code together; package config reads the first two.
package dogpile
