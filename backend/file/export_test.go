package file

// Waiting returns how many calls of Wait wait in b.
func Waiting(b *Backend) int { return int(b.waiters.n.Load()) }

// SetVersion makes this process one of another version of the package.
func SetVersion(v int64) { version = v }

// SetHash replaces the hash of keys, until the function that it returns is
// called.
func SetHash(h func(key string) int64) (reset func()) {
	old := hash
	hash = h
	return func() { hash = old }
}
