package driver

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

var proxies struct {
	sync.RWMutex
	wraps map[string]func(Backend) Backend
}

// RegisterProxy lets settings name a proxy. Packages of proxies call it from
// init. wrap is called once for each region that names it, from any goroutine,
// and returns a proxy around the backend that it is given. RegisterProxy panics
// on nil, on a name that is empty or has a comma or white space in it, and on
// one that is taken.
func RegisterProxy(name string, wrap func(Backend) Backend) {
	if wrap == nil {
		panic("dogpile: proxy " + name + " is registered as nil")
	}
	if name == "" {
		panic("dogpile: proxy is registered without a name")
	}
	if strings.ContainsAny(name, ", \t\r\n") {
		panic(fmt.Sprintf("dogpile: proxy %q is registered under a name that no list can have in it", name))
	}
	proxies.Lock()
	defer proxies.Unlock()
	if _, taken := proxies.wraps[name]; taken {
		panic("dogpile: proxy " + name + " is registered twice")
	}
	if proxies.wraps == nil {
		proxies.wraps = make(map[string]func(Backend) Backend)
	}
	proxies.wraps[name] = wrap
}

// ProxyNamed returns what [RegisterProxy] was given under name. The error for a
// name that is not registered lists those that are, in alphabetical order.
func ProxyNamed(name string) (func(Backend) Backend, error) {
	proxies.RLock()
	defer proxies.RUnlock()
	wrap, ok := proxies.wraps[name]
	if !ok {
		return nil, fmt.Errorf("unknown proxy %q (forgotten import?); known: %s",
			name, strings.Join(slices.Sorted(maps.Keys(proxies.wraps)), ", "))
	}
	return wrap, nil
}
