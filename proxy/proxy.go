// Package proxy has stock proxies, backends that wrap another one: [Breaker],
// [Chaos], [Compress] and [Log]. Give them to a region in Options.Proxies,
// outermost first:
//
//	Proxies: []func(driver.Backend) driver.Backend{
//		proxy.Log(nil),
//		proxy.Compress(nil),
//	}
//
// Settings name them, once this package is imported, also by an import for its
// effect alone:
//
//	users.proxies = log, compress
//
// "breaker", "compress" and "log" are Breaker(nil), Compress(nil) and Log(nil).
// "chaos" delays one call in ten by 100 ms and makes one in a hundred fail.
//
// To write one, embed [driver.Proxy].
package proxy
