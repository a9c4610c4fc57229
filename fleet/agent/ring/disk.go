package ring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// disk is the directory of a ring, as the ring uses it. What counts is when which bytes are safe: a file's after its
// Sync, a name's (made or removed) after SyncNames.
type disk interface {
	Names() ([]string, error)
	Create(name string) (file, error)
	Open(name string) (file, error)
	Remove(name string) error
	SyncNames() error
	Close() error
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Sync() error
	Truncate(size int64) error
}

const lockName = "lock"

// directory is a real one, held by a lock that ends with the process.
type directory struct {
	path string
	lock *os.File
}

func openDirectory(path string) (*directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrInUse, path)
		}
		return nil, fmt.Errorf("ring: lock %s: %w", path, err)
	}
	d := &directory{path, lock}
	// The directory's own name must be safe too, or a power cut takes all of it.
	if err := syncNames(filepath.Dir(filepath.Clean(path))); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *directory) Names() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d *directory) Create(name string) (file, error) {
	return d.open(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR)
}

func (d *directory) Open(name string) (file, error) { return d.open(name, os.O_RDWR) }

func (d *directory) open(name string, flags int) (file, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d *directory) Remove(name string) error {
	err := os.Remove(filepath.Join(d.path, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d *directory) SyncNames() error { return syncNames(d.path) }

func (d *directory) Close() error { return d.lock.Close() }

func syncNames(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	return nil
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
