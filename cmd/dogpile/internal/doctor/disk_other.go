//go:build !(linux || darwin || freebsd)

package doctor

// diskSpace is not known here.
func diskSpace(string) (free, of int64, ok bool) { return 0, 0, false }
