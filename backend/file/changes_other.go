//go:build !linux

package file

import "github.com/dogpile-go/dogpile/driver"

// On other systems than Linux the processes that open a file do not exclude each other, and
// could not share its counters safely.
const changesShared = false

type counters struct{ *driver.Changes }

func (l *lockFile) counters() (*counters, error) { return &counters{driver.NewChanges()}, nil }

func (c *counters) close() error { return nil }
