package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
)

// ErrStorage says that the store's disk fails.
var ErrStorage = errors.New("artifact storage fails")

// StoreOptions say where artifacts are kept and for how long.
type StoreOptions struct {
	Dir              string        // folder of the store; made when it is not there
	Host             string        // host[:port] in the URLs of artifacts
	Algorithm        string        // of digests: sha1, sha256, sha384, sha512 or blake3; "" means sha256
	RetentionTTL     time.Duration // an artifact that was replaced stays this long, and
	RetentionRecords int           // at least this many stay of each object, the current one included; 0 means 2
	MaxBytes         int64         // of the files of one artifact; 0 means 1 GiB
	MaxFiles         int           // files and folders of one artifact; 0 means 200,000
}

// Folders of the store. The names start with a dot, which no kind does, so they
// are never served.
const (
	blobFolder    = ".weir/blobs"   // archives by digest; artifacts are hard links to them
	packFolder    = ".weir/packs"   // pack key → digest and size
	recordFolder  = ".weir/records" // path of an artifact → digest
	tempFolder    = ".weir/tmp"
	membersSuffix = ".members"
)

const pinTime = 10 * time.Minute // how long a blob waits to be published

// Store keeps artifacts as files named by their digest and publishes them as
// <kind>/<namespace>/<name>/<file>. A file appears whole or not at all, and what
// is served is what its digest says. It heals when its folder is wiped: Present
// then tells what has to be made again. A Store is safe for concurrent use; its
// folder belongs to one process.
type Store struct {
	o         StoreOptions
	algorithm digest.Algorithm
	packing   keyed

	names sync.RWMutex // held over the change of a published file and its record

	mu       sync.Mutex
	packs    map[string]Blob      // by pack key
	pins     map[string]time.Time // digests of blobs that are not published yet
	verified map[int64]hashed     // files whose bytes were hashed, by inode
}

// state tells whether a file may have changed since it was hashed. The time of
// modification can be set to what it was; that of the last change cannot.
type state struct {
	inode, size, modified, changed int64
}

// hashed is a file with its digest.
type hashed struct {
	state
	digest string
}

// NewStore opens the store in o.Dir and removes what a crash has left there.
func NewStore(o StoreOptions) (*Store, error) {
	if o.Dir == "" || o.Host == "" {
		return nil, errors.New("a store needs a folder and the host of its URLs")
	}
	algorithm, err := parseAlgorithm(o.Algorithm)
	if err != nil {
		return nil, err
	}
	o.Algorithm = algorithm.String()
	o.RetentionRecords = orDefault(o.RetentionRecords, 2)
	o.MaxBytes = orDefault(o.MaxBytes, 1<<30)
	o.MaxFiles = orDefault(o.MaxFiles, 200_000)
	s := &Store{o: o, algorithm: algorithm, packs: map[string]Blob{}, pins: map[string]time.Time{}, verified: map[int64]hashed{}}
	if err := os.RemoveAll(s.at(tempFolder)); err != nil {
		return nil, storageError("clear the temporary files", err)
	}
	if err := os.MkdirAll(s.at(tempFolder), 0o700); err != nil {
		return nil, storageError("make the storage folder", err)
	}
	return s, s.load()
}

func (s *Store) at(elem ...string) string {
	return filepath.Join(append([]string{s.o.Dir}, elem...)...)
}

func (s *Store) blobPath(d digest.Digest) string {
	return s.at(blobFolder, d.Algorithm().String()+"-"+d.Encoded())
}

// load drops blobs that nothing is published from, and reads which trees are packed.
func (s *Store) load() error {
	blobs, err := os.ReadDir(s.at(blobFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return storageError("list the archives", err)
	}
	for _, e := range blobs {
		if name, ok := strings.CutSuffix(e.Name(), membersSuffix); ok {
			if _, err := os.Lstat(s.at(blobFolder, name)); err != nil {
				os.Remove(s.at(blobFolder, e.Name()))
			}
		} else if d, err := parseDigest(strings.Replace(e.Name(), "-", ":", 1)); err == nil {
			s.drop(d)
		}
	}
	packs, err := os.ReadDir(s.at(packFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return storageError("list the packed trees", err)
	}
	for _, e := range packs {
		data, _ := os.ReadFile(s.at(packFolder, e.Name()))
		var b Blob
		if _, err := fmt.Sscanf(string(data), "%s %d", &b.Digest, &b.Size); err != nil || !s.has(b) {
			os.Remove(s.at(packFolder, e.Name()))
			continue
		}
		s.packs[e.Name()] = b
	}
	return nil
}

// has tells whether the archive b lies in the store with its size.
func (s *Store) has(b Blob) bool {
	d, err := parseDigest(b.Digest)
	if err != nil {
		return false
	}
	info, err := os.Lstat(s.blobPath(d))
	return err == nil && info.Mode().IsRegular() && info.Size() == b.Size
}

// known returns the archive that a tree was packed to, if its bytes are still right,
// and pins it.
func (s *Store) known(key string) (Blob, bool) {
	s.mu.Lock()
	b, ok := s.packs[key]
	if ok {
		s.pins[b.Digest] = time.Now()
	}
	s.mu.Unlock()
	if !ok {
		return b, false
	}
	d := digest.Digest(b.Digest)
	f, err := os.Open(s.blobPath(d))
	if err == nil {
		defer f.Close()
		err = s.matches(f, d)
	}
	return b, err == nil
}

// keep gives the finished archive in f its name.
func (s *Store) keep(f *os.File, b Blob, list []member, key string) error {
	d := digest.Digest(b.Digest)
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return storageError("write the archive", err)
	}
	s.mu.Lock()
	s.pins[b.Digest] = time.Now()
	s.mu.Unlock()
	if err := s.place(f.Name(), s.blobPath(d)); err != nil {
		return err
	}
	if err := syncFolder(s.at(blobFolder)); err != nil {
		return err
	}
	// The list after the archive: with an older archive and a newer list no
	// checksum fits, so members are made anew and never mixed up.
	if err := s.writeFile(s.blobPath(d)+membersSuffix, formatMembers(list)); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return storageError("write the archive", err)
	}
	s.trust(info, d)
	s.mu.Lock()
	if key != "" {
		s.packs[key] = Blob{Digest: b.Digest, Size: b.Size}
	}
	s.mu.Unlock()
	if key == "" {
		return nil
	}
	return s.writeFile(s.at(packFolder, key), fmt.Appendf(nil, "%s %d\n", b.Digest, b.Size))
}

// drop removes the archive d, unless something is published from it or it waits
// to be.
func (s *Store) drop(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pinned, ok := s.pins[d.String()]; ok && time.Since(pinned) < pinTime {
		return
	}
	info, err := os.Lstat(s.blobPath(d))
	if err == nil && links(info) > 1 {
		return
	}
	delete(s.pins, d.String())
	for key, b := range s.packs {
		if b.Digest == d.String() {
			delete(s.packs, key)
			os.Remove(s.at(packFolder, key))
		}
	}
	if err == nil {
		delete(s.verified, stateOf(info).inode)
	}
	os.Remove(s.blobPath(d))
	os.Remove(s.blobPath(d) + membersSuffix)
}

// matches returns ErrDigest unless the bytes of f have the digest want. A file is
// hashed when it is first seen, and again when its size, times or inode changed.
func (s *Store) matches(f *os.File, want digest.Digest) error {
	info, err := f.Stat()
	if err != nil {
		return storageError("look at an archive", err)
	}
	if s.trusts(info, want) {
		return nil
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it is not a file", ErrDigest)
	}
	if err := verify(f, want); err != nil {
		return err
	}
	s.trust(info, want)
	return nil
}

// trusts tells whether the file was hashed as it is.
func (s *Store) trusts(info fs.FileInfo, d digest.Digest) bool {
	now := stateOf(info)
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.verified[now.inode]
	return ok && known.state == now && known.digest == d.String()
}

// trust notes that the file, as it is, has the digest.
func (s *Store) trust(info fs.FileInfo, d digest.Digest) {
	now := stateOf(info)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verified[now.inode] = hashed{now, d.String()}
}

func stateOf(info fs.FileInfo) state {
	out := state{size: info.Size(), modified: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		out.inode, out.changed = int64(st.Ino), changed(st)
	}
	return out
}

func links(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink) //nolint:unconvert // narrower on other systems
	}
	return 2 // unknown: keep it
}

// keyed is a lock per key that can be waited for within a context.
type keyed struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

func (k *keyed) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		k.mu.Lock()
		busy, ok := k.held[key]
		if !ok {
			if k.held == nil {
				k.held = map[string]chan struct{}{}
			}
			mine := make(chan struct{})
			k.held[key] = mine
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.held, key)
				k.mu.Unlock()
				close(mine)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
