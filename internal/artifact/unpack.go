package artifact

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// Errors of an artifact's content.
var (
	ErrTooLarge = errors.New("artifact is larger than allowed")
	ErrArchive  = errors.New("artifact is not a usable tar.gz archive")
)

// limits bound what an archive may unpack to.
type limits struct {
	bytes int64 // of the decompressed stream, headers included
	files int   // entries of any kind
}

// Bounds of names that no repository of manifests comes near.
const (
	maxPath  = 1024 // bytes
	maxDepth = 64   // steps
)

// unpack reads the tar.gz archive r, writes the content of its files to w, one
// after the other, and returns the index over it and the bytes written. No name
// of the archive is ever a name on disk. Hard links, devices and everything else
// that is not a file, directory or symbolic link is refused, as are absolute
// names and "..".
func unpack(r io.Reader, w io.Writer, l limits) (*dir, int64, error) {
	zr, err := gzip.NewReader(bufio.NewReaderSize(r, 64<<10))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	defer zr.Close()
	u := &unpacking{index: newIndex(), out: bufio.NewWriterSize(w, 256<<10), limits: l, buf: make([]byte, 64<<10)}
	plain := &bounded{r: zr, left: l.bytes, limit: l.bytes}
	tr := tar.NewReader(plain)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = u.entry(h, tr)
		}
		if err != nil {
			return nil, 0, archiveError(err)
		}
	}
	if _, err := io.Copy(io.Discard, plain); err != nil { // what follows the end has a checksum too
		return nil, 0, archiveError(err)
	}
	if err := u.out.Flush(); err != nil {
		return nil, 0, fmt.Errorf("write the artifact cache: %w", err)
	}
	return u.index.finish(), u.off, nil
}

// archiveError marks what the reader of a format says as the archive's fault.
// Limits and errors of the disk are left as they are.
func archiveError(err error) error {
	var disk *writeError
	if errors.Is(err, ErrTooLarge) || errors.As(err, &disk) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrArchive, err)
}

// unpacking is one archive on its way to disk.
type unpacking struct {
	index   *index
	out     *bufio.Writer
	off     int64
	entries int
	limits  limits
	buf     []byte
}

func (u *unpacking) entry(h *tar.Header, r io.Reader) error {
	if u.entries++; u.entries > u.limits.files {
		return fmt.Errorf("%w: it has more than %d entries", ErrTooLarge, u.limits.files)
	}
	if h.Typeflag == tar.TypeXGlobalHeader { // written by git archive
		return nil
	}
	p, err := entryPath(h.Name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return u.file(p, h, r)
	case tar.TypeDir:
		return u.index.put(p, node{kind: Dir}, false)
	case tar.TypeSymlink:
		if len(h.Linkname) > maxLink {
			return fmt.Errorf("%q is a link to more than %d bytes", h.Name, maxLink)
		}
		return u.index.put(p, node{kind: link, more: strings.Clone(h.Linkname)}, false)
	default:
		return fmt.Errorf("%q is of type %q: only files, directories and symbolic links are allowed", h.Name, h.Typeflag)
	}
}

func (u *unpacking) file(p string, h *tar.Header, r io.Reader) error {
	n := node{kind: File, off: u.off, executable: h.Mode&0o100 != 0}
	sum := sha256.New()
	size, err := io.CopyBuffer(io.MultiWriter(sum, diskWriter{u.out}), struct{ io.Reader }{r}, u.buf)
	if err != nil {
		return err
	}
	n.size = size
	u.off += size
	sum.Sum(n.sum[:0])
	return u.index.put(p, n, false)
}

// entryPath checks the name of an entry and returns it as a path of the tree.
func entryPath(name string) (string, error) {
	if len(name) > maxPath {
		return "", fmt.Errorf("%w: the path %q… is longer than %d bytes", ErrTooLarge, name[:64], maxPath)
	}
	if name == "" || strings.HasPrefix(name, "/") || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("bad entry name %q", name)
	}
	steps := 0
	for step := range strings.SplitSeq(name, "/") {
		switch step {
		case "..":
			return "", fmt.Errorf("bad entry name %q: %w", name, ErrEscape)
		case "", ".":
		default:
			steps++
		}
	}
	if steps > maxDepth {
		return "", fmt.Errorf("%w: the path %q is nested deeper than %d", ErrTooLarge, name, maxDepth)
	}
	return path.Clean("/" + name), nil
}

// bounded fails with ErrTooLarge, instead of ending, when its limit is passed.
type bounded struct {
	r           io.Reader
	left, limit int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		var one [1]byte
		n, err := b.r.Read(one[:])
		if n == 0 {
			return 0, err
		}
		return 0, fmt.Errorf("%w: it unpacks to more than %d bytes", ErrTooLarge, b.limit)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// writeError tells a full disk from a broken archive.
type writeError struct{ err error }

func (e *writeError) Error() string { return "write the artifact cache: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

type diskWriter struct{ w io.Writer }

func (d diskWriter) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	if err != nil {
		err = &writeError{err}
	}
	return n, err
}
