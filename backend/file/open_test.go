package file_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

func TestPlaces(t *testing.T) {
	// What users type, in a directory of their own.
	dir := t.TempDir()
	t.Chdir(dir)
	ok(t, os.Mkdir("sub", 0o700))
	for _, row := range []struct{ place, path string }{
		{dir + "/a.db", "a.db"},
		{"a.db", "a.db"},
		{"./a.db", "a.db"},
		{"sub/a.db", "sub/a.db"},
		{"a b%20?x=1#.db", "a b%20?x=1#.db"},
		{"file://" + dir + "/a.db", "a.db"},
		{"file:" + dir + "/a.db", "a.db"},
		{"file://localhost" + dir + "/a.db", "a.db"},
		{"file:a.db", "a.db"},
		{"file:./a.db", "a.db"},
		{"file:sub/a.db", "sub/a.db"},
		{"file://a.db", "a.db"},
		{"file://./a.db", "a.db"},
		{"file://sub/a.db", "sub/a.db"},
		{"file://sub/../a.db", "a.db"},
		{"file://" + dir + "/a%20b%3F.db", "a b?.db"},
		{"file://a%20b%25.db", "a b%.db"},
		{"file://su%62/a%20b%25.db", "sub/a b%.db"},
		{"file://" + dir + "/a.db?max_bytes=1GiB&timeout=3&reset=true", "a.db"},
		{"file:a.db?timeout=never", "a.db"},
		{"file://?path=sub/a%2Cb.db", "sub/a,b.db"},
	} {
		want := filepath.Join(dir, row.path)
		b, err := file.Open(t.Context(), row.place, nil)
		if err != nil || b.Path() != want {
			t.Errorf("Open(%s) = %v, %v, want the file %s", row.place, b, err, want)
			continue
		}
		if size(t, want) == 0 {
			t.Errorf("Open(%s) left %s empty", row.place, want)
		}
		ok(t, b.Close())
		if !strings.Contains(row.place, "://") {
			continue
		}
		reg, err := driver.Open(t.Context(), row.place)
		ok(t, err)
		if reg.(*file.Backend).Path() != want {
			t.Errorf("driver.Open(%s) opened %s", row.place, reg.(*file.Backend).Path())
		}
		ok(t, driver.Close(reg))
	}
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ok(t, os.WriteFile(dir+"/text", []byte("This is what somebody wrote, and will want to read again."), 0o600))
	url := "file://" + dir + "/a.db"
	for _, row := range []struct{ place, want string }{
		{"", "there is no path"},
		{"file:", "there is no path"},
		{"file://", "there is no path"},
		{"file://localhost", "there is no path"},
		{dir, "not a regular file"},
		{"file://" + dir, "not a regular file"},
		{dir + "/none/a.db", "no such file or directory"},
		{dir + "/text/a.db", "not a directory"},
		{url + "?max_bytes=much", `"max_bytes" is not a whole number`},
		{url + "?max_bytes=-1", "MaxBytes (max_bytes) is -1; it is 0 or at least 131072"},
		{url + "?max_bytes=1000", "MaxBytes (max_bytes) is 1000"},
		{url + "?timeout=soon", `"timeout" is neither a duration`},
		{url + "?timeout=-3", "Timeout (timeout) is -3s"},
		{url + "?reset=maybe", `"reset" is neither true nor false`},
		{url + "?size=1", `"size" is unknown`},
		{url + "?path=b.db", `"path" is given`},
		{"file://a,b.db", "%2C"},
		{"file://me@a.db", "%40"},
		{"file://" + dir + "/me@a.db", "%40"},
		{"file://" + dir + "/100%.db", "%25"},
		{"file://100%.db", "%25"},
		{"file://" + dir + "/a#b.db", "%23"},
		{dir + "/a\x00b.db", "invalid argument"},
		{"redis://host", `"redis" is no scheme of this backend`},
	} {
		b, err := file.Open(t.Context(), row.place, nil)
		if err == nil || b != nil || !strings.Contains(err.Error(), row.want) || !strings.HasPrefix(err.Error(), "dogpile: ") {
			t.Errorf("Open(%q) = %v, want %q in it", row.place, err, row.want)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("there is %v, %v, where nothing could be opened", names, err)
	}
}

func TestOptionsComeBeforeTheURL(t *testing.T) {
	t.Parallel()
	path := place(t)
	url := "file://" + path + "?max_bytes=1MiB&timeout=2"
	for _, row := range []struct {
		o    *file.Options
		want file.Options
	}{
		{nil, file.Options{MaxBytes: 1 << 20, Timeout: 2 * time.Second}},
		{&file.Options{Timeout: time.Minute}, file.Options{MaxBytes: 1 << 20, Timeout: time.Minute}},
		{&file.Options{MaxBytes: 4 << 20}, file.Options{MaxBytes: 4 << 20, Timeout: 2 * time.Second}},
	} {
		b, err := file.Open(t.Context(), url, row.o)
		ok(t, err)
		if c := b.Caps(); c.Timeout != row.want.Timeout || c.MaxValue != row.want.MaxBytes/4 {
			t.Errorf("%+v: Caps are %+v", row.o, c)
		}
		ok(t, b.Close())
	}
}

func TestOpenHonoursItsContext(t *testing.T) {
	t.Parallel()
	path := place(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := file.Open(ctx, path, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a context that is done = %v", err)
	}
	// An index has to be made, and somebody else is writing.
	open(t, path, nil)
	c := raw(t, path)
	sql(t, c, "BEGIN IMMEDIATE")
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := file.Open(ctx, path, &file.Options{MaxBytes: 1 << 20}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open of a file that another writes = %v", err)
	}
	// Without anything to make nobody has to wait.
	b := open(t, path, nil)
	sql(t, c, "ROLLBACK")
	set(t, b, "k", "v")
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("This is what somebody wrote, and will want to read again.\n", 100)
	for name, prepare := range map[string]func(t *testing.T, path string){
		"text":        func(t *testing.T, path string) { ok(t, os.WriteFile(path, []byte(text), 0o600)) },
		"a few bytes": func(t *testing.T, path string) { ok(t, os.WriteFile(path, []byte("hello"), 0o600)) },
		"another SQLite": func(t *testing.T, path string) {
			sql(t, raw(t, path), "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
		},
		"one with an id": func(t *testing.T, path string) {
			sql(t, raw(t, path), "PRAGMA application_id = 7", "PRAGMA user_version = 1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := place(t)
			prepare(t, path)
			before, err := os.ReadFile(path)
			ok(t, err)
			for _, reset := range []bool{false, true} {
				_, err := file.Open(t.Context(), path, &file.Options{Reset: reset})
				if err == nil {
					t.Errorf("with Reset %v it was opened", reset)
				}
				t.Log(err)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("it was changed, %v", err)
			}
			if _, err := os.Stat(path + "-lock"); err == nil {
				t.Error("a lock file was left")
			}
		})
	}
}

func TestOtherVersion(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1", "3"} {
		path := place(t)
		b := open(t, path, nil)
		set(t, b, "k", "v")
		ok(t, b.Close())
		sql(t, raw(t, path), "PRAGMA user_version = "+version)
		if _, err := file.Open(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "another version") {
			t.Errorf("Open of version %s = %v", version, err)
		}
		b = open(t, path, &file.Options{Reset: true})
		want(t, b, "k", "")
		set(t, b, "k", "new")
		want(t, open(t, path, nil), "k", "new")
	}
}

func TestEmptyAndUnfinishedFiles(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T, path string){
		"empty": func(t *testing.T, path string) { ok(t, os.WriteFile(path, nil, 0o600)) },
		"empty, with the log of another": func(t *testing.T, path string) {
			old := path + ".old"
			set(t, open(t, old, nil), "k", "v")
			for _, suffix := range []string{"-wal", "-shm"} {
				ok(t, os.Rename(old+suffix, path+suffix))
			}
			ok(t, os.WriteFile(path, nil, 0o600))
		},
		// As a process leaves it that is killed while it makes the file.
		"without tables": func(t *testing.T, path string) {
			sql(t, raw(t, path), "PRAGMA auto_vacuum = INCREMENTAL", "PRAGMA journal_mode = WAL")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := place(t)
			prepare(t, path)
			b := open(t, path, nil)
			want(t, b, "k", "")
			set(t, b, "k", "v")
			want(t, open(t, path, nil), "k", "v")
		})
	}
}

func TestEntriesOutliveTheProcess(t *testing.T) {
	t.Parallel()
	path := place(t)
	for i := range 3 {
		b := open(t, path, nil)
		for j := range i {
			want(t, b, fmt.Sprint("k", j), fmt.Sprint("v", j))
		}
		set(t, b, fmt.Sprint("k", i), fmt.Sprint("v", i))
		ok(t, b.Close())
		ok(t, b.Close())
		for _, suffix := range []string{"-wal", "-shm"} {
			if _, err := os.Stat(path + suffix); err == nil {
				t.Errorf("%s is left after Close", suffix)
			}
		}
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), nil)
	l := hold(t, b, "k", time.Hour)
	waiting := make(chan error, 1)
	other := open(t, b.Path(), nil)
	go func() { waiting <- b.Wait(context.Background(), "k") }()
	ok(t, b.Close())
	if err := <-waiting; err != nil && !strings.Contains(err.Error(), "closed") {
		t.Errorf("Wait = %v", err)
	}
	_, err1 := b.TryLock(t.Context(), "k", time.Second)
	_, err2 := b.Locked(t.Context(), "k")
	for what, err := range map[string]error{
		"Get": b.Get(t.Context(), []driver.Item{{Key: "k"}}), "Set": trySet(t, b, driver.Item{Key: "k", Data: []byte("v")}),
		"Delete": b.Delete(t.Context(), []string{"k"}), "Wait": b.Wait(t.Context(), "k"), "TryLock": err1, "Locked": err2,
		"Extend": l.Extend(t.Context(), time.Hour), "Release": l.Release(t.Context()),
	} {
		if err == nil || !strings.Contains(err.Error(), "file: the backend is closed") {
			t.Errorf("%s of a closed backend = %v", what, err)
		}
	}
	// Its leases ended with it.
	hold(t, other, "k", time.Hour)
}
