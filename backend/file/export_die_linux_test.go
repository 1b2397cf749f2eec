package file

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// SetAndDie is Set in a process that is killed between the commit and the end of the call.
// begun is called before the commit.
func (b *Backend) SetAndDie(ctx context.Context, it driver.Item, begun func()) error {
	committed = func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }
	v, err := b.enter(ctx)
	if err != nil {
		return err
	}
	l := b.limit(ctx)
	err = v.change(&l, 1, func(int) string { return it.Key }, func(c *conn) error {
		begun()
		return b.set(c, &it, time.Now(), 0)
	})
	return errors.Join(err, errors.New("nothing has killed this process"))
}
