package holder

import "github.com/dogpile-go/dogpile/driver"

// TokenOf returns a token of a process on a host.
func TokenOf(host string, pid int) string {
	return Mark + "RANDOM.1795335672908" + tail(driver.Holder{Host: cut(host), PID: pid})
}
