package artifact

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"strings"
)

// member is one gzip member of an archive. The list of an archive's members lies
// beside it, one a line, and is all the cache there is.
type member struct {
	key      string // names the entries in it; "" when a file has no ID
	off, len int64
	crc      uint32 // CRC-32C of its bytes
	content  int64  // bytes of the files in it
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// memberKey names the bytes of a member; "" when they cannot be told beforehand.
func memberKey(entries []packed, last bool) string {
	h := sha256.New()
	fmt.Fprintf(h, "v%d level %d last %t\n", format, level, last)
	for _, e := range entries {
		if !e.Dir && e.ID == "" {
			return ""
		}
		id := e.ID
		if e.Dir {
			id = "" // a folder's header says nothing of what is in it
		}
		fmt.Fprintf(h, "%t %t %s %s\x00", e.Dir, e.Executable, id, e.path)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// memberList is the previous archive, open for copying from it.
type memberList struct {
	file *os.File
	all  map[string]member
}

// members opens the archive of the given digest. One that is not there, or is not
// what its digest says, has no members.
func (s *Store) members(sum string) *memberList {
	none := &memberList{}
	if sum == "" {
		return none
	}
	d, err := parseDigest(sum)
	if err != nil {
		return none
	}
	data, err := os.ReadFile(s.blobPath(d) + membersSuffix)
	if err != nil {
		return none
	}
	f, err := os.Open(s.blobPath(d))
	if err != nil {
		return none
	}
	if s.matches(f, d) != nil {
		f.Close()
		return none
	}
	l := &memberList{file: f, all: map[string]member{}}
	for line := range strings.Lines(string(data)) {
		var m member
		if _, err := fmt.Sscanf(line, "%s %d %d %d %d", &m.key, &m.off, &m.len, &m.crc, &m.content); err == nil {
			l.all[m.key] = m
		}
	}
	return l
}

// find returns the member of the given key, if its bytes are what they were.
func (l *memberList) find(key string) (member, bool) {
	m, ok := l.all[key]
	if key == "" || !ok {
		return m, false
	}
	crc := crc32.New(castagnoli)
	n, err := io.Copy(crc, l.section(m))
	return m, err == nil && n == m.len && crc.Sum32() == m.crc
}

func (l *memberList) section(m member) io.Reader { return io.NewSectionReader(l.file, m.off, m.len) }

func (l *memberList) close() {
	if l.file != nil {
		l.file.Close()
	}
}

func formatMembers(list []member) []byte {
	var out bytes.Buffer
	for _, m := range list {
		if m.key != "" {
			fmt.Fprintf(&out, "%s %d %d %d %d\n", m.key, m.off, m.len, m.crc, m.content)
		}
	}
	return out.Bytes()
}

// meter counts and sums what passes.
type meter struct {
	w   io.Writer
	n   int64
	crc hash.Hash32
}

func newMeter(w io.Writer) *meter { return &meter{w: w, crc: crc32.New(castagnoli)} }

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.n += int64(n)
	m.crc.Write(p[:n])
	return n, err
}
