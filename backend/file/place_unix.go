//go:build unix

package file

import (
	"os"
	"syscall"
)

const noFollow = syscall.O_NOFOLLOW

// exposed reports whether everybody may write to a directory.
func exposed(dir string) bool {
	fi, err := os.Stat(dir)
	return err == nil && fi.Mode().Perm()&0o002 != 0
}

// user returns the user that this process runs as.
var user = os.Geteuid

// ours reports whether a file belongs to that user.
func ours(fi os.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == user()
}
