//go:build !linux || arm

package file

import "github.com/dogpile-go/dogpile/driver"

// On other systems than Linux the processes that open a file do not exclude each other, and
// could not share its counters safely. On 32-bit ARM some processors have no atomic operation
// on 64 bits, and Go makes one of locks in the memory of one process.
const changesShared = false

type counters struct{ *driver.Changes }

func (l *lockFile) counters() (*counters, error) { return &counters{driver.NewChanges()}, nil }

func (l *lockFile) whole() bool { return true }

func (c *counters) close() error { return nil }
