// Package holder is how the token of a lease tells who holds it.
package holder

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// Mark begins every token. What dogpile.cache holds does not begin with it.
const Mark = "dogpile-go."

// longest is how many bytes of the name of a host are kept. Linux has no longer ones.
const longest = 64

// Self returns this process as a holder, without a time.
var Self = sync.OnceValue(func() driver.Holder {
	host, _ := os.Hostname() // without it there is a number
	return driver.Holder{Host: cut(host), PID: os.Getpid()}
})

// cut returns the beginning of the name of a host.
func cut(host string) string {
	if len(host) > longest {
		// The end may be a part of a character.
		host = strings.ToValidUTF8(host[:longest], "")
	}
	return host
}

// NewToken returns a token that no other lease has, of at most 300 bytes, which are printable
// ASCII without a space:
//
//	dogpile-go.RANDOM.MILLISECONDS.PID.HOST
//
// The random part alone makes it unique. The milliseconds are those since 1970. In the name of
// the host bytes are escaped as in URLs.
func NewToken() string {
	return Mark + rand.Text() + "." + strconv.FormatInt(time.Now().UnixMilli(), 10) + suffix()
}

var suffix = sync.OnceValue(func() string { return tail(Self()) })

func tail(h driver.Holder) string { return fmt.Sprintf(".%d.%s", h.PID, url.PathEscape(h.Host)) }

// Of returns who holds the lease that has a token. One without Mark is taken for a lock of
// dogpile.cache, which writes nothing of its holder. One with it that makes no sense tells
// nothing.
func Of(token string) driver.Holder {
	rest, ours := strings.CutPrefix(token, Mark)
	if !ours {
		return driver.Holder{Program: "python"}
	}
	parts := strings.SplitN(rest, ".", 4) // the name of a host may have more dots
	if len(parts) < 4 {
		return driver.Holder{}
	}
	since, err1 := strconv.ParseInt(parts[1], 10, 64)
	pid, err2 := strconv.Atoi(parts[2])
	host, err3 := url.PathUnescape(parts[3])
	if errors.Join(err1, err2, err3) != nil {
		return driver.Holder{}
	}
	return driver.Holder{Host: cut(host), PID: pid, Since: time.UnixMilli(since)}
}
