package artifact

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
)

// An archive is a row of gzip members, each holding the tar entries of one run of
// files. A run ends where a hash of the path says so, and not by size, so its
// limits do not move with content: a change to one file changes one member, and
// the others are copied from the previous archive. The bytes are the same with or
// without a previous archive.
const (
	format  = 1        // goes into every key; raise it with any change to the bytes
	level   = 6        // of gzip
	runMask = 1<<5 - 1 // a run has 32 entries on average
)

// Modes of entries, as the wire API has them.
const (
	modeFile       = 0o600
	modeExecutable = 0o700
	modeDir        = 0o750
)

// Blob is a finished archive in the store.
type Blob struct {
	Digest  string // algorithm and sum of the bytes
	Size    int64  // bytes
	Members int    // gzip members; 0 when nothing had to be packed
	Reused  int    // members copied from the previous archive
}

// PackOptions say what of a source is packed.
type PackOptions struct {
	Ignore   Ignore
	Previous string // digest of an archive in the store that has most of the same files; "" for none
}

// Pack puts the archive of src into the store and returns it. The same tree under
// the same rules is packed once. What is not published within ten minutes may be
// collected. Errors are those of src, ErrIgnore, ErrTooLarge, ErrStorage and that
// of ctx.
func (s *Store) Pack(ctx context.Context, src Source, o PackOptions) (Blob, error) {
	key := packKey(src.ID(), o.Ignore, s.o.Algorithm)
	if key != "" {
		unlock, err := s.packing.lock(ctx, key)
		if err != nil {
			return Blob{}, err
		}
		defer unlock()
		b, ok := s.known(key)
		packRequests.Count(ok)
		if ok {
			return b, nil
		}
	}
	chosen, err := choose(ctx, src, o.Ignore, s.o.MaxFiles)
	if err != nil {
		return Blob{}, err
	}
	return s.pack(ctx, src, chosen, o.Previous, key)
}

// Put puts the bytes of r into the store as they are and returns them as an archive.
// Errors are those of r, ErrTooLarge, ErrStorage and that of ctx.
func (s *Store) Put(ctx context.Context, r io.Reader) (Blob, error) {
	out, err := s.temp()
	if err != nil {
		return Blob{}, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	sum := s.algorithm.Digester()
	n, err := io.Copy(io.MultiWriter(diskWriter{out}, sum.Hash()), io.LimitReader(&cancellable{ctx, r}, s.o.MaxBytes+1))
	if err != nil {
		return Blob{}, storageIfDisk(err)
	}
	if n > s.o.MaxBytes {
		return Blob{}, fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, s.o.MaxBytes)
	}
	b := Blob{Digest: sum.Digest().String(), Size: n}
	return b, s.keep(out, b, nil, "")
}

// packKey names what a source under ignore rules packs to; "" when it has no name.
func packKey(id string, ignore Ignore, algorithm string) string {
	if id == "" {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %s\x00%s\x00%s", format, level, algorithm, id, ignore.Patterns))
	return hex.EncodeToString(sum[:])
}

func (s *Store) pack(ctx context.Context, src Source, chosen []packed, previous, key string) (Blob, error) {
	out, err := s.temp()
	if err != nil {
		return Blob{}, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	old := s.members(previous)
	defer old.close()

	p := &packing{ctx: ctx, src: src, old: old, sum: s.algorithm.Digester(), left: s.o.MaxBytes, limit: s.o.MaxBytes, buf: make([]byte, 32<<10)}
	disk := bufio.NewWriterSize(diskWriter{out}, 256<<10)
	p.out = io.MultiWriter(disk, p.sum.Hash())
	for start := 0; start < len(chosen); {
		end := runEnd(chosen, start)
		if err := p.run(chosen[start:end], false); err != nil {
			return Blob{}, storageIfDisk(err)
		}
		start = end
	}
	if err := errors.Join(p.run(nil, true), disk.Flush()); err != nil {
		return Blob{}, storageIfDisk(err)
	}
	b := Blob{Digest: p.sum.Digest().String(), Size: p.off, Members: len(p.list), Reused: p.reused}
	return b, s.keep(out, b, p.list, key)
}

// runEnd returns where the run that starts at start ends.
func runEnd(chosen []packed, start int) int {
	for i := start; i < len(chosen); i++ {
		cut := fnv.New32a()
		cut.Write([]byte(chosen[i].path)) // a hash never fails
		if cut.Sum32()>>8&runMask == 0 {
			return i + 1
		}
	}
	return len(chosen)
}

// packing is one archive being written.
type packing struct {
	ctx         context.Context
	src         Source
	old         *memberList
	out         io.Writer
	sum         digest.Digester
	off         int64 // bytes written
	list        []member
	reused      int
	left, limit int64 // bytes of content

	zip *gzip.Writer // of the member before; nil before the first
	buf []byte       // to copy with
}

// run writes one member: the entries, and the end of the archive when last is set.
func (p *packing) run(entries []packed, last bool) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	m := member{key: memberKey(entries, last), off: p.off}
	if old, ok := p.old.find(m.key); ok {
		n, err := io.Copy(p.out, p.old.section(old))
		if err != nil {
			return err
		}
		m.len, m.crc, m.content = n, old.crc, old.content
		if p.left -= m.content; p.left < 0 {
			return p.tooLarge()
		}
		p.reused++
	} else if err := p.deflate(entries, last, &m); err != nil {
		return err
	}
	p.off += m.len
	p.list = append(p.list, m)
	return nil
}

func (p *packing) deflate(entries []packed, last bool, m *member) error {
	w := newMeter(p.out)
	zw, err := p.zipTo(w)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(zw)
	before := p.left
	for _, e := range entries {
		if err := p.entry(tw, e); err != nil {
			return err
		}
	}
	if last {
		err = tw.Close() // the two zero blocks
	} else {
		err = tw.Flush()
	}
	if err := errors.Join(err, zw.Close()); err != nil {
		return err
	}
	m.len, m.crc, m.content = w.n, w.crc.Sum32(), before-p.left
	return nil
}

// zipTo returns the compressor, which is too large to be made anew for each member.
func (p *packing) zipTo(w io.Writer) (*gzip.Writer, error) {
	if p.zip != nil {
		p.zip.Reset(w)
		return p.zip, nil
	}
	var err error
	p.zip, err = gzip.NewWriterLevel(w, level)
	return p.zip, err
}

// entry writes one file or folder. The header has no owner and no time and one of
// three modes, so it depends on the tree alone.
func (p *packing) entry(tw *tar.Writer, e packed) error {
	if e.Dir {
		return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: e.path + "/", Mode: modeDir})
	}
	r, size, err := p.src.Open(e.path, e.Entry)
	if err != nil {
		return err
	}
	defer r.Close()
	if p.left -= size; p.left < 0 {
		return p.tooLarge()
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.path, Mode: modeFile, Size: size}
	if e.Executable {
		h.Mode = modeExecutable
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{tw}, &cancellable{p.ctx, r}, p.buf)
	if err == nil && n != size {
		err = fmt.Errorf("%q has %d bytes, %d were announced", e.path, n, size)
	}
	return err
}

func (p *packing) tooLarge() error {
	return fmt.Errorf("%w: its files have more than %d bytes", ErrTooLarge, p.limit)
}
