package file_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

func TestFilesAreTheUsersAlone(t *testing.T) {
	t.Parallel()
	for _, umask := range []int{0, 0o022, 0o777} {
		path := place(t)
		c := launch(t, nil, "modes", path, strconv.Itoa(umask))
		c.says("made")
		wantModes(t, path, 0o600)
	}
}

// modesRole makes a file under a umask.
func modesRole(path string, args []string) error {
	umask, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	syscall.Umask(umask)
	b, err := file.Open(context.Background(), path, nil)
	if err != nil {
		return err
	}
	err = b.Set(context.Background(), []driver.Item{{Key: "k", Data: []byte("v")}})
	if err != nil {
		return err
	}
	fmt.Println("made")
	return proceed()
}

// apart lets a process mount what nobody else sees.
func apart() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"bounded", "unbounded", "reset"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			launch(t, apart(), "full", t.TempDir(), how).says("all is well")
		})
	}
}

// disk is a cache on a disk of 1 MiB, in a process of its own.
type disk struct {
	*file.Backend
	dir    string
	ctx    context.Context
	stored map[string]int // the value that each key holds, if any
}

// fullRole fills a disk.
func fullRole(dir string, args []string) error {
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		return err
	}
	o := &file.Options{Timeout: slow, Reset: args[0] == "reset"}
	if args[0] == "bounded" {
		o.MaxBytes = 400 << 10
	}
	b, err := file.Open(context.Background(), dir+"/app.db", o)
	if err != nil {
		return err
	}
	d := &disk{b, dir, context.Background(), map[string]int{}}
	switch args[0] {
	case "bounded":
		err = d.fits()
	case "unbounded":
		err = d.fills()
	case "reset":
		err = d.startsAnew()
	}
	if err = errors.Join(err, b.Close()); err == nil {
		fmt.Println("all is well")
	}
	return err
}

func (d *disk) set(i int) error {
	key := fmt.Sprint("k", i%100)
	items := []driver.Item{{Key: key, Data: []byte(noise(5000, uint64(i)))}}
	err := errors.Join(d.Set(d.ctx, items), items[0].Err)
	if err == nil {
		d.stored[key] = i
	}
	return err
}

// check counts what is found, and sees to it that it is right.
func (d *disk) check() (found int, err error) {
	for key, i := range d.stored {
		items := []driver.Item{{Key: key}}
		if err := errors.Join(d.Get(d.ctx, items), items[0].Err); err != nil {
			return found, err
		}
		if items[0].Found() {
			found++
			if string(items[0].Data) != noise(5000, uint64(i)) {
				return found, fmt.Errorf("%s holds what is not its last value", key)
			}
		}
	}
	return found, nil
}

// fits writes much more than there is room for, within a bound.
func (d *disk) fits() error {
	for i := range 1000 {
		if err := d.set(i); err != nil {
			return fmt.Errorf("set %d: %w", i, err)
		}
	}
	found, err := d.check()
	if err == nil && found < 40 {
		err = fmt.Errorf("only %d entries are there", found)
	}
	return err
}

// fill writes until nothing more can be written, and some more.
func (d *disk) fill() error {
	refused := 0
	for i := range 300 {
		if err := d.set(i); err != nil {
			refused++
			if !strings.Contains(err.Error(), "disk is full") {
				return err
			}
		}
	}
	if refused == 0 {
		return errors.New("the disk is not full")
	}
	return nil
}

// fills sees what was stored before the disk was full, and goes on once it no
// longer is.
func (d *disk) fills() error {
	ballast := d.dir + "/ballast"
	if err := os.WriteFile(ballast, make([]byte, 300<<10), 0o600); err != nil {
		return err
	}
	if err := d.fill(); err != nil {
		return err
	}
	found, err := d.check()
	if err != nil || found != len(d.stored) || found < 10 {
		return fmt.Errorf("on a full disk %d of %d are found, %w", found, len(d.stored), err)
	}
	if err := d.Delete(d.ctx, []string{"k1"}); err == nil {
		delete(d.stored, "k1") // it may be so lucky
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	if err := d.Delete(d.ctx, []string{"k2"}); err != nil {
		return err
	}
	delete(d.stored, "k2")
	if err := d.set(7); err != nil {
		return err
	}
	found, err = d.check()
	if err != nil || found != len(d.stored) {
		return fmt.Errorf("with room again %d of %d are found, %w", found, len(d.stored), err)
	}
	items := []driver.Item{{Key: "k2"}}
	if err := d.Get(d.ctx, items); err != nil || items[0].Found() {
		return fmt.Errorf("what was deleted is found: %v, %w", items[0].Found(), err)
	}
	return nil
}

// startsAnew goes on with an empty file.
func (d *disk) startsAnew() error {
	if err := d.fill(); err != nil {
		return err
	}
	if err := d.set(1000); err != nil { // at the latest, the call after one that failed
		if err = d.set(1000); err != nil {
			return err
		}
	}
	found, err := d.check()
	if err == nil && (found == 0 || found == len(d.stored)) {
		err = fmt.Errorf("%d of %d are found after a new start", found, len(d.stored))
	}
	return err
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"file system", "file", "directory"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			var attr *syscall.SysProcAttr
			if how == "file system" {
				attr = apart()
			}
			dir, err := os.MkdirTemp("", "readonly") // not below a directory of this user's own
			ok(t, err)
			t.Cleanup(func() { os.RemoveAll(dir) })
			launch(t, attr, "read", dir, how).says("all is well")
		})
	}
}

// readOnlyRole opens what can only be read.
func readOnlyRole(dir string, args []string) error {
	ctx := context.Background()
	want := "permission denied"
	if args[0] == "file system" {
		want = "read-only file system"
		if err := unix.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
			return err
		}
	} else if os.Geteuid() == 0 { // who may do anything
		if err := errors.Join(os.Chown(dir, 65534, 65534), syscall.Setuid(65534)); err != nil {
			return err
		}
	}
	path := dir + "/app.db"
	b, err := file.Open(ctx, path, nil)
	if err != nil {
		return err
	}
	err = errors.Join(b.Set(ctx, []driver.Item{{Key: "k", Data: []byte("v")}}), b.Close())
	if err != nil {
		return err
	}
	there, missing := path, dir+"/other.db"
	switch args[0] {
	case "file system":
		err = unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	case "file":
		err, missing, want = os.Chmod(path, 0o400), "", "readonly"
	case "directory":
		err = errors.Join(os.Remove(path+"-lock"), os.Chmod(dir, 0o500))
	}
	if err != nil {
		return err
	}
	for _, path := range []string{there, missing} {
		if path == "" {
			continue
		}
		if _, err := file.Open(ctx, path, nil); err == nil || !strings.Contains(err.Error(), want) {
			return fmt.Errorf("Open(%s) = %w, want %q in it", path, err, want)
		}
	}
	fmt.Println("all is well")
	return nil
}

// It is not parallel: it changes what the file system is.
func TestNetworkFileSystems(t *testing.T) {
	for name, kind := range map[string]int64{
		"NFS": unix.NFS_SUPER_MAGIC, "CIFS": unix.CIFS_SUPER_MAGIC, "SMB": unix.SMB2_SUPER_MAGIC, "Ceph": unix.CEPH_SUPER_MAGIC,
	} {
		reset := file.SetFileSystem(kind)
		path := place(t)
		_, err := file.Open(t.Context(), path, nil)
		reset()
		if err == nil || !strings.Contains(err.Error(), "network file system ("+name+")") {
			t.Errorf("%s: %v", name, err)
		}
		ok(t, open(t, path, nil).Close())
	}
}
