package file

// SetFileSystem replaces the kind of file system that is found, like SetHash.
func SetFileSystem(kind int64) (reset func()) {
	old := statfs
	statfs = func(string) (int64, error) { return kind, nil }
	return func() { statfs = old }
}
