//go:build unix

package file_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dogpile-go/dogpile/backend/file"
)

// shared returns a directory where everybody may write, as /tmp is.
func shared(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ok(t, os.Chmod(dir, os.ModeSticky|0o777))
	return dir
}

func TestSymbolicLinks(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		in      func(*testing.T) string
		refused bool
	}{
		"own directory":      {func(t *testing.T) string { return t.TempDir() }, false},
		"shared directory":   {shared, true},
		"below a shared one": {func(t *testing.T) string { d := shared(t) + "/own"; ok(t, os.Mkdir(d, 0o700)); return d }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, dir := place(t), row.in(t)
			ok(t, os.WriteFile(target, nil, 0o600))
			ok(t, os.Symlink(target, dir+"/file"))
			ok(t, os.Symlink(filepath.Dir(target), dir+"/directory"))
			ok(t, os.Symlink("file", dir+"/again"))
			ok(t, os.Symlink(filepath.Dir(target)+"/new.db", dir+"/new"))
			ok(t, os.Symlink("loop", dir+"/loop"))
			for _, link := range []string{"file", "directory/app.db", "again", "new"} {
				b, err := file.Open(t.Context(), dir+"/"+link, nil)
				if row.refused {
					if err == nil || !strings.Contains(err.Error(), "symbolic link") {
						t.Errorf("%s: %v", link, err)
					}
					continue
				}
				ok(t, err)
				// Through the link and without it, it is one file with one lock.
				l := hold(t, b, link, slow)
				if _, err := os.Stat(dir + "/" + link + "-lock"); err == nil && link != "directory/app.db" {
					t.Errorf("%s: the lock is next to the link", link)
				}
				ok(t, l.Release(t.Context()))
				ok(t, b.Close())
			}
			if _, err := file.Open(t.Context(), dir+"/loop", nil); err == nil {
				t.Error("a link to itself was opened")
			}
			if fi, err := os.Stat(target); err != nil || (fi.Size() == 0) != row.refused {
				t.Errorf("the target: %v, %v", fi.Size(), err)
			}
		})
	}
}

func TestLinkAfterLinkInASharedDirectory(t *testing.T) {
	t.Parallel()
	// One's own link leads to somebody's in /tmp.
	target, dir, own := place(t), shared(t), t.TempDir()
	ok(t, os.Symlink(target, dir+"/theirs"))
	ok(t, os.Symlink(dir+"/theirs", own+"/mine"))
	if _, err := file.Open(t.Context(), own+"/mine", nil); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("Open = %v", err)
	}
}

func TestCompanionsInASharedDirectory(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"-wal", "-shm", "-lock", "-journal"} {
		path := shared(t) + "/app.db"
		victim := filepath.Join(t.TempDir(), "victim")
		ok(t, os.WriteFile(victim, []byte("precious"), 0o600))
		ok(t, os.Symlink(victim, path+suffix))
		if _, err := file.Open(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: %v", suffix, err)
		}
		if text, err := os.ReadFile(victim); string(text) != "precious" || err != nil {
			t.Errorf("%s: the target holds %q, %v", suffix, text, err)
		}
	}
}

// It is not parallel: it changes who runs it.
func TestFilesOfOtherUsers(t *testing.T) {
	path, own := shared(t)+"/app.db", place(t)
	for _, p := range []string{path, own} {
		b := open(t, p, nil)
		set(t, b, "k", "v")
		ok(t, b.Close())
	}
	defer file.SetUser(os.Geteuid() + 1)()
	if _, err := file.Open(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "somebody else's") {
		t.Errorf("in a shared directory: %v", err)
	}
	want(t, open(t, own, nil), "k", "v")
	ok(t, os.Remove(path))
	if _, err := file.Open(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "-lock is somebody else's") {
		t.Errorf("with the lock of another user: %v", err)
	}
}

func TestWhatIsNoFile(t *testing.T) {
	t.Parallel()
	path := place(t)
	ok(t, unix.Mkfifo(path, 0o600))
	if _, err := file.Open(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe: %v", err)
	}
}

func TestPermissionsThatAreThereStay(t *testing.T) {
	t.Parallel()
	path := place(t)
	ok(t, os.WriteFile(path, nil, 0o600))
	ok(t, os.Chmod(path, 0o660))
	set(t, open(t, path, nil), "k", "v")
	wantModes(t, path, 0o660)
}

func wantModes(t testing.TB, path string, mode os.FileMode) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm", "-lock"} {
		if fi, err := os.Stat(path + suffix); err != nil || fi.Mode() != mode {
			t.Errorf("%s: %v, %v, want %v", suffix, fi.Mode(), err, mode)
		}
	}
}
