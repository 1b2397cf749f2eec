package file

import (
	"context"
	"os"
	"syscall"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// SetAndDie is Set in a process that is killed between the transaction and the end of the
// call. begun is called before the transaction.
func (b *Backend) SetAndDie(ctx context.Context, it driver.Item, begun func()) error {
	v, err := b.enter(ctx)
	if err != nil {
		return err
	}
	v.begin(1, func(int) string { return it.Key })
	begun()
	l := b.limit(ctx)
	if err := v.write(&l, func(c *conn) error { return b.set(c, &it, time.Now(), 0) }); err != nil {
		return err
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}
