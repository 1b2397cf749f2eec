package proxy

import (
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

func init() {
	driver.RegisterProxy("breaker", Breaker(nil))
	driver.RegisterProxy("compress", Compress(nil))
	driver.RegisterProxy("log", Log(nil))
	driver.RegisterProxy("chaos", Chaos(&ChaosOptions{
		Delay: 0.1, DelayFor: 100 * time.Millisecond,
		Error: 0.01,
	}))
}
