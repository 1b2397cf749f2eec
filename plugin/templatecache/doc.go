// Package templatecache caches fragments of pages that html/template and text/template
// make. A fragment is a template of the set, executed with its data:
//
//	{{cached .Ctx "cards" "card" .Product}}
//
// does what {{template "card" .Product}} does, but keeps what comes of it in the region
// "cards", where other requests and other processes find it. One of them executes the
// template; the others wait for it or are given the old fragment, as in every
// [dogpile.Region].
//
//	var templates = template.Must(template.New("").
//		Funcs(templatecache.FuncMap()).ParseFS(files, "*.html"))
//
//	fragments, err := templatecache.BindHTML(templates,
//		&templatecache.Options{Regions: []*dogpile.Region{cards}})
//
// # In a template
//
// The function cached takes a context, the name of a region, the name of a template, and
// the data to execute that with. Then there may be, in any order,
//
//	(cacheKey .Product.ID .Lang)  what tells this fragment from others of its template,
//	                              in place of the data
//	(cacheTimeout "5m")           its expiration, in place of the region's; a duration as
//	                              in settings, or "never"
//	(cacheTags "product:42")      tags for Region.InvalidateTags
//
// Calls that name different tags do not share fragments: each replaces that of the other.
// So an invalidation reaches the fragment whichever call has made it.
//
// It has to be an action of its own: not part of a pipeline, a variable or an argument.
//
// # Keys
//
// A fragment is found by the name of its template, a digest of that template and all that
// it includes, and the arguments of cacheKey, or the data. So a template that has changed
// makes other fragments. The digest does not know of functions, nor of Option: when one is
// to write something else, invalidate the region.
//
// Arguments of keys are told apart by value and type, but integers of all sizes are one
// type. They are those of a [dogpile.Func]; maps and interfaces are none. What has a method
// CacheKey or MarshalText is told apart by what that returns alone: a time by its instant
// and its offset, not by the name of its zone.
//
// All that a fragment shows has to be in its key, or to be the same for everybody. What
// belongs to one request, such as the nonce of a Content Security Policy, does not.
//
// # What a fragment is made of
//
// Data is read before cached is called. It may be old by the time at which the fragment is
// made and its tags are read, and then nothing ever tells. With the data itself as key that
// does no harm, as other data is another fragment. In all other cases data should be a
// [Loader], which is loaded when the fragment is made.
//
// Fragments may be made of others. In a fragment cached uses the context of the creation,
// whatever context it is given, nil included: so tags of an inner fragment are tags of the
// outer one.
//
// A creation may outlive the request, and may run in the background. What a fragment is
// made of must not be changed, and has to be of use without the request.
//
// # Escaping
//
// html/template writes the same whether it is {{cached}} or {{template}}. A fragment can
// stand in the text of HTML alone: not in tags, attributes, comments, scripts, style
// sheets, title or textarea, where cached is an error of BindHTML.
package templatecache
