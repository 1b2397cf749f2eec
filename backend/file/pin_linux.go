package file

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// pin tells whether the open file is still at its path. It costs one system
// call, which does not look the path up.
type pin struct{ fd int }

// newPin pins the file at path. It opens the file with O_PATH, without access to
// its content: closing any other descriptor would release the locks that SQLite
// has on the file in this process.
func newPin(path string) (*pin, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &pin{fd}, nil
}

// gone reports whether the file was removed, replaced or emptied.
func (p *pin) gone() bool {
	var st unix.Stat_t
	err := ignoringEINTR(func() error { return unix.Fstat(p.fd, &st) })
	return err != nil || st.Nlink == 0 || st.Size == 0
}

// at reports whether it is this file that is at path.
func (p *pin) at(path string) bool {
	var mine, there unix.Stat_t
	err1 := ignoringEINTR(func() error { return unix.Fstat(p.fd, &mine) })
	err2 := ignoringEINTR(func() error { return unix.Lstat(path, &there) })
	return err1 == nil && err2 == nil && mine.Ino == there.Ino && mine.Dev == there.Dev
}

func (p *pin) close() { _ = unix.Close(p.fd) }

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// networks are the file systems on which processes of several hosts can open a
// file and do not share SQLite's shared memory.
var networks = map[int64]string{
	unix.AFS_FS_MAGIC:      "AFS",
	unix.AFS_SUPER_MAGIC:   "AFS",
	unix.CEPH_SUPER_MAGIC:  "Ceph",
	unix.CIFS_SUPER_MAGIC:  "CIFS",
	unix.CODA_SUPER_MAGIC:  "Coda",
	unix.NCP_SUPER_MAGIC:   "NCP",
	unix.NFS_SUPER_MAGIC:   "NFS",
	unix.OCFS2_SUPER_MAGIC: "OCFS2",
	unix.SMB2_SUPER_MAGIC:  "SMB",
	unix.SMB_SUPER_MAGIC:   "SMB",
	0x01161970:             "GFS2",
	0x0bd00bd0:             "Lustre",
	0x19830326:             "BeeGFS",
	0x47504653:             "GPFS",
}

// statfs returns the kind of file system that dir is on.
var statfs = func(dir string) (kind int64, err error) {
	var st unix.Statfs_t
	err = ignoringEINTR(func() error { return unix.Statfs(dir, &st) })
	return int64(uint32(st.Type)), err
}

// network returns the name of the network file system that dir is on; "" if
// it is on none.
func network(dir string) string {
	kind, err := statfs(dir)
	if err != nil {
		return ""
	}
	return networks[kind]
}
