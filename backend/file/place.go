package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// companions has the ends of the names of files that belong to the cache. A -journal
// is never written here, but SQLite would read it.
var companions = []string{"-wal", "-shm", "-lock", "-journal"}

// locate returns path, which is absolute, without symbolic links. It is an
// error if the file cannot be used there.
func locate(path string) (string, error) {
	path, err := resolve(path)
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(path)
	switch fi, err := os.Stat(dir); {
	case err != nil:
		return "", fmt.Errorf("the directory of the file: %w", err)
	case !fi.IsDir():
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	if name := network(dir); name != "" {
		return "", fmt.Errorf("%s is on a network file system (%s), where processes of several hosts would not see each other's writes", dir, name)
	}
	return path, checkCompanions(path)
}

// resolve replaces symbolic links by where they lead. A link in a directory where
// everybody may write is refused: another user could have made it, to have this
// process write to a file of that user's choice.
func resolve(path string) (string, error) {
	for range 40 {
		link, rest, err := firstLink(path)
		if link == "" || err != nil {
			return path, err
		}
		if exposed(filepath.Dir(link)) {
			return "", fmt.Errorf("%s is a symbolic link in a directory where everybody may write", link)
		}
		target, err := os.Readlink(link)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		path = filepath.Join(target, rest)
	}
	return "", fmt.Errorf("%s: too many symbolic links", path)
}

// firstLink returns the first part of path that is a symbolic link, and what
// follows it; "" if there is no link.
func firstLink(path string) (link, rest string, err error) {
	volume := filepath.VolumeName(path)
	part := volume + string(filepath.Separator)
	names := strings.Split(strings.TrimPrefix(path, part), string(filepath.Separator))
	for i, name := range names {
		part = filepath.Join(part, name)
		fi, err := os.Lstat(part)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return "", "", nil
		case err != nil:
			return "", "", err
		case fi.Mode()&os.ModeSymlink != 0:
			return part, filepath.Join(names[i+1:]...), nil
		}
	}
	return "", "", nil
}

// checkCompanions checks the file and those that belong to it, as far as they exist:
// they have to be regular files, and where everybody may write, of this user.
func checkCompanions(path string) error {
	open := exposed(filepath.Dir(path))
	for _, suffix := range append([]string{""}, companions...) {
		fi, err := os.Lstat(path + suffix)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return err
		case suffix != "" && !open:
		case !fi.Mode().IsRegular():
			return fmt.Errorf("%s is not a regular file", path+suffix)
		case open && !ours(fi):
			return fmt.Errorf("%s is somebody else's, in a directory where everybody may write", path+suffix)
		}
	}
	return nil
}

// create makes an empty file at path if there is none. It does not open one that
// is there: closing it again would release the locks that SQLite has on the file
// in this process.
func create(path string) error {
	mode := os.FileMode(0o600)
	switch fi, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	case fi.Size() > 0 || !hasLog(path):
		return nil
	default:
		mode = fi.Mode().Perm() // it was truncated while it was in use
	}
	// Other processes may still use a file that was at this path, and its log.
	if err := discard(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(mode), f.Close()) // whatever the umask is
}

func hasLog(path string) bool {
	_, err1 := os.Lstat(path + "-wal")
	_, err2 := os.Lstat(path + "-shm")
	return err1 == nil || err2 == nil
}

// discard removes what is at path, and what belongs to it but the lock.
func discard(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
