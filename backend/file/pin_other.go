//go:build !linux

package file

import (
	"os"
	"runtime"
)

// pin tells whether a file is still the one that is open.
type pin struct {
	path string
	info os.FileInfo
}

func newPin(path string) (*pin, error) {
	fi, err := os.Lstat(path)
	return &pin{path, fi}, err
}

// gone reports whether the file was removed, replaced or emptied. Windows does
// not allow that of an open file.
func (p *pin) gone() bool {
	if runtime.GOOS == "windows" {
		return false
	}
	fi, err := os.Lstat(p.path)
	return err != nil || fi.Size() == 0 || !os.SameFile(fi, p.info)
}

// at reports whether it is this file that is at path.
func (p *pin) at(path string) bool {
	fi, err := os.Lstat(path)
	return err == nil && os.SameFile(fi, p.info)
}

func (p *pin) close() {}

// network is not known here.
func network(string) string { return "" }
