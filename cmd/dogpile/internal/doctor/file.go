package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

// file looks at a cache file and its disk.
func (p *Patient) file(b *file.Backend) []Check {
	path := b.Path()
	info, err := os.Stat(path)
	if err != nil {
		return []Check{refused("file", "", err, "it was removed; programs go on with a new one")}
	}
	total := info.Size()
	for _, more := range []string{"-wal", "-shm", "-lock"} {
		if info, err := os.Stat(path + more); err == nil {
			total += info.Size()
		}
	}
	where := Check{Name: "file", Value: fmt.Sprintf("%q, %s with its -wal, -shm and -lock", path, size(total))}
	access := Check{Name: "permissions", Value: info.Mode().Perm().String()}
	if info.Mode().Perm()&0o007 != 0 {
		access.Advice = "every user of the host can read what is cached: chmod o= the file and those that belong to it"
	}
	checks := []Check{where, access}
	if free, of, ok := diskSpace(filepath.Dir(path)); ok {
		c := Check{Name: "disk", Value: fmt.Sprintf("%s of %s free", size(free), size(of))}
		if free < of/20 && free < 1<<30 {
			c.Advice = "nothing is stored when the disk is full: make room, or bound the file with max_bytes"
		}
		checks = append(checks, c)
	}
	changes := Check{Name: "tracking", Value: "changes are noticed within the lag of copies (near)"}
	if w, ok := p.Region.Backend().(driver.Watcher); ok {
		if stop, atOnce := w.Watch(time.Second); stop != nil {
			stop()
			if atOnce {
				changes.Value = "changes are noticed at once"
			}
		}
	}
	return append(checks, changes)
}
