package artifact

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// temp makes a temporary file on the store's file system.
func (s *Store) temp() (*os.File, error) {
	if err := os.MkdirAll(s.at(tempFolder), 0o700); err != nil {
		return nil, storageError("make the storage folder", err)
	}
	f, err := os.CreateTemp(s.at(tempFolder), "")
	if err != nil {
		return nil, storageError("make a temporary file", err)
	}
	return f, nil
}

// writeFile puts data at path, whole or not at all. It does not wait for the disk:
// what it writes is checked when it is read and can be made again.
func (s *Store) writeFile(path string, data []byte) error {
	f, err := s.temp()
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return storageError("write a file", err)
	}
	if err := f.Chmod(0o644); err != nil {
		return storageError("write a file", err)
	}
	return s.place(f.Name(), path)
}

// place moves the finished file temp to path.
func (s *Store) place(temp, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return storageError("make a folder", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return storageError("rename a file", err)
	}
	return nil
}

// link makes path another name of the file at from, in place of what was there.
func (s *Store) link(from, path string) error {
	f, err := s.temp()
	if err != nil {
		return err
	}
	name := f.Name() + ".link"
	f.Close()
	os.Remove(f.Name())
	defer os.Remove(name) // stays when path is a name of the file already
	if err := os.Link(from, name); err != nil {
		return storageError("link the archive", err)
	}
	return s.place(name, path)
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return storageError("open a folder", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return storageError("make a rename last", err)
	}
	return nil
}

// storageError says what the store could not do, without the names of files.
func storageError(what string, err error) error {
	err = pathless(err)
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		err = fmt.Errorf("%s: %w", le.Op, le.Err)
	}
	return fmt.Errorf("%w: cannot %s: %w", ErrStorage, what, err)
}

// storageIfDisk marks an error that comes from writing to disk.
func storageIfDisk(err error) error {
	if we, ok := errors.AsType[*writeError](err); ok {
		return storageError("write the archive", we.err)
	}
	return err
}
