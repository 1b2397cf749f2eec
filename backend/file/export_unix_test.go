//go:build unix

package file

// SetUser replaces the user that this process runs as, like SetHash.
func SetUser(id int) (reset func()) {
	old := user
	user = func() int { return id }
	return func() { user = old }
}
