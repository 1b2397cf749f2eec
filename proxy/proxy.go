// Package proxy has stock proxies, backends that wrap another one: [Breaker],
// [Chaos], [Compress] and [Log]. Give them to a region in Options.Proxies,
// outermost first:
//
//	Proxies: []func(driver.Backend) driver.Backend{
//		proxy.Log(nil),
//		proxy.Compress(nil),
//	}
//
// To write one, embed [driver.Proxy].
package proxy
