package gitrepo

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// malicious is a Git server that speaks protocol v2 by hand, so that it can say what
// no honest one says.
type malicious struct {
	url      string
	requests atomic.Int64

	mu sync.Mutex // held where answers change while requests may be open
	answers
}

// answers are what a server says.
type answers struct {
	tip  plumbing.Hash
	pack []byte

	v0 bool // speaks protocol v0

	// What it does instead, where set.
	advertise, list, send func(http.ResponseWriter, *http.Request)
}

func startMalicious(t testing.TB) *malicious {
	t.Helper()
	m := &malicious{}
	m.good()
	srv := httptest.NewServer(m)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	m.url = srv.URL + "/app"
	return m
}

// good makes the server honest, with one commit of one file.
func (m *malicious) good() {
	file := thing{plumbing.BlobObject, []byte("kind: A\n")}
	tree := thing{plumbing.TreeObject, entryOf("100644", "a.yaml", file.hash())}
	c := commitOf(tree.hash())
	honest := answers{tip: c.hash(), pack: packOf(file, tree, c)}
	m.mu.Lock()
	m.answers = honest
	m.mu.Unlock()
}

// old makes it speak the old protocol.
func (m *malicious) old() { m.v0 = true }

// ServeHTTP implements http.Handler.
func (m *malicious) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.requests.Add(1)
	m.mu.Lock()
	now := m.answers
	m.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	kind := "result"
	if r.Method == http.MethodGet {
		kind = "advertisement"
	}
	w.Header().Set("Content-Type", "application/x-git-upload-pack-"+kind)
	do := func(instead func(http.ResponseWriter, *http.Request), usual string) {
		if instead != nil {
			instead(w, r)
			return
		}
		_, _ = io.WriteString(w, usual)
	}
	switch {
	case r.Method == http.MethodGet && now.v0:
		do(now.advertise, pkt("# service=git-upload-pack\n")+"0000"+pkt(now.tip.String()+" refs/heads/main\x00side-band-64k shallow ofs-delta\n")+"0000")
	case r.Method == http.MethodGet:
		do(now.advertise, pkt("# service=git-upload-pack\n")+"0000"+pkt("version 2\n")+pkt("ls-refs\n")+pkt("fetch=shallow\n")+pkt("object-format=sha1\n")+"0000")
	case bytes.Contains(body, []byte("command=ls-refs")):
		do(now.list, pkt(now.tip.String()+" refs/heads/main\n")+"0000")
	default:
		do(now.send, "")
		if now.send == nil {
			sendPack(w, now.pack)
			_, _ = io.WriteString(w, "0000")
		}
	}
}

func pkt(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }

// sendPack writes a pack in its section, without the end of it.
func sendPack(w io.Writer, pack []byte) {
	_, _ = io.WriteString(w, pkt("packfile\n"))
	for len(pack) > 0 {
		n := min(len(pack), 65000)
		_, _ = io.WriteString(w, pkt("\x01"+string(pack[:n])))
		pack = pack[n:]
	}
}

// sends makes the server send a pack.
func (m *malicious) sends(pack []byte) { m.pack = pack }

// thing is a Git object.
type thing struct {
	kind plumbing.ObjectType
	data []byte
}

func (o thing) hash() plumbing.Hash { return plumbing.ComputeHash(o.kind, o.data) }

func entryOf(mode, name string, h plumbing.Hash) []byte {
	return append([]byte(mode+" "+name+"\x00"), h[:]...)
}

func commitOf(tree plumbing.Hash) thing {
	return thing{plumbing.CommitObject, []byte("tree " + tree.String() + "\nauthor A <a@weir.dev> 1700000000 +0000\ncommitter A <a@weir.dev> 1700000000 +0000\n\nmessage\n")}
}

func packOf(objects ...thing) []byte {
	var b bytes.Buffer
	for _, o := range objects {
		_ = writeEntry(&b, o.kind, int64(len(o.data)), bytes.NewReader(o.data)) // to memory
	}
	return seal(uint32(len(objects)), b.Bytes())
}

// seal makes a pack of raw entries.
func seal(count uint32, entries []byte) []byte {
	b := append(binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), count), entries...)
	sum := sha1.Sum(b)
	return append(b, sum[:]...)
}

// raw is an entry whose header says what it likes.
func raw(kind plumbing.ObjectType, size uint64, extra, data []byte) []byte {
	b := []byte{byte(kind)<<4 | byte(size&15)}
	for rest := size >> 4; rest > 0; rest >>= 7 {
		b[len(b)-1] |= 0x80
		b = append(b, byte(rest&0x7f))
	}
	b = append(b, extra...)
	var z bytes.Buffer
	w := deflaters.Get().(*zlib.Writer)
	defer deflaters.Put(w)
	w.Reset(&z)
	_, _ = w.Write(data)
	_ = w.Close()
	return append(b, z.Bytes()...)
}

var deflaters = sync.Pool{New: func() any { return zlib.NewWriter(nil) }}

// copies is a delta that makes target bytes by copying the start of a base of n bytes over and over.
func copies(n, target int) []byte {
	d := binary.AppendUvarint(nil, uint64(n))
	d = binary.AppendUvarint(d, uint64(target))
	for made := 0; made < target; made += n {
		d = append(d, 0x80|0x10|0x20|0x40, byte(n), byte(n>>8), byte(n>>16)) // copy n bytes from 0
	}
	return d
}

// over makes the server's tip a commit of the tree.
func (m *malicious) over(objects []thing, tree thing) {
	c := commitOf(tree.hash())
	m.tip = c.hash()
	m.sends(packOf(append(objects, tree, c)...))
}

func endless(w http.ResponseWriter, line string) {
	block := strings.Repeat(line, 1+(1<<16)/len(line))
	for _, err := io.WriteString(w, block); err == nil; _, err = io.WriteString(w, block) {
	}
}

func hang(w http.ResponseWriter, r *http.Request) {
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

// reset ends the connection as a broken network does.
func reset(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// hostile are the ways in which a server can be bad: what it does, and what comes of it.
var hostile = map[string]struct {
	be   func(m *malicious)
	want error
}{
	"advertisement hangs":  {func(m *malicious) { m.advertise = hang }, ErrUnreachable},
	"advertisement resets": {func(m *malicious) { m.advertise = reset }, ErrUnreachable},
	"advertisement endless": {func(m *malicious) {
		m.advertise = func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, pkt("# service=git-upload-pack\n")+"0000"+pkt("version 2\n"))
			endless(w, pkt("a=b\n"))
		}
	}, ErrTooLarge},
	"no pkt-lines": {func(m *malicious) {
		m.advertise = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }
	}, ErrUnreachable},
	"pkt-line of length 3": {func(m *malicious) {
		m.list = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "0003") }
	}, ErrUnreachable},
	"pkt-line too long": {func(m *malicious) {
		m.list = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ffff") }
	}, ErrUnreachable},
	"refs trickle": {func(m *malicious) {
		m.list = func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "00"); hang(w, r) }
	}, ErrUnreachable},
	"refs endless": {func(m *malicious) {
		m.list = func(w http.ResponseWriter, _ *http.Request) {
			endless(w, pkt(strings.Repeat("1", 40)+" refs/heads/"+strings.Repeat("x", 900)+"\n"))
		}
	}, ErrTooLarge},
	"refs endless, of an old server": {func(m *malicious) {
		m.old()
		tip := m.tip
		m.advertise = func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, pkt("# service=git-upload-pack\n")+"0000"+pkt(tip.String()+" HEAD\x00side-band-64k\n"))
			endless(w, pkt(strings.Repeat("1", 40)+" refs/heads/"+strings.Repeat("x", 900)+"\n"))
		}
	}, ErrTooLarge},
	"refs cut": {func(m *malicious) {
		m.list = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "0040") }
	}, ErrUnreachable},
	"error endless": {func(m *malicious) {
		m.list = func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, pkt("ERR "+strings.Repeat("x\x1b[31m", 8000)))
		}
	}, ErrUnreachable},
	"too many requests": {func(m *malicious) {
		m.list = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}, ErrUnreachable},
	"redirect of a request": {func(m *malicious) {
		m.list = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusTemporaryRedirect)
		}
	}, ErrUnreachable},
	"redirect to a file": {func(m *malicious) {
		m.advertise = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}
	}, ErrURL},
	"redirect in a circle": {func(m *malicious) {
		m.advertise = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) }
	}, ErrUnreachable},
	"pack hangs": {func(m *malicious) {
		p := m.pack
		m.send = func(w http.ResponseWriter, r *http.Request) { sendPack(w, p[:20]); hang(w, r) }
	}, ErrUnreachable},
	"pack resets": {func(m *malicious) {
		p := m.pack
		m.send = func(w http.ResponseWriter, r *http.Request) {
			sendPack(w, p[:20])
			w.(http.Flusher).Flush()
			reset(w, r)
		}
	}, ErrUnreachable},
	"pack ends early": {func(m *malicious) {
		p := m.pack
		m.send = func(w http.ResponseWriter, _ *http.Request) { sendPack(w, p[:len(p)-1]); io.WriteString(w, "0000") }
	}, ErrUnreachable},
	"pack without its end": {func(m *malicious) {
		p := m.pack
		m.send = func(w http.ResponseWriter, _ *http.Request) { sendPack(w, p) }
	}, ErrUnreachable},
	"pack endless": {func(m *malicious) {
		m.send = func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, pkt("packfile\n"))
			endless(w, pkt("\x01"+strings.Repeat("x", 60000)))
		}
	}, ErrTooLarge},
	"progress endless": {func(m *malicious) {
		m.send = func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, pkt("packfile\n"))
			endless(w, pkt("\x02"+strings.Repeat("x", 60000)))
		}
	}, ErrTooLarge},
	"nothing endless": {func(m *malicious) {
		m.send = func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, pkt("packfile\n"))
			endless(w, pkt("\x01"))
		}
	}, ErrTooLarge},
	"shallow endless": {func(m *malicious) {
		m.send = func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, pkt("shallow-info\n"))
			endless(w, pkt("shallow "+strings.Repeat("1", 40)+"\n"))
		}
	}, ErrTooLarge},
	"acknowledgments endless": {func(m *malicious) {
		m.send = func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, pkt("acknowledgments\n"))
			endless(w, pkt("ACK "+strings.Repeat("1", 40)+"\n"))
		}
	}, ErrTooLarge},
	"marks endless": {func(m *malicious) {
		m.send = func(w http.ResponseWriter, _ *http.Request) { endless(w, "0001") }
	}, ErrTooLarge},
	"shallow endless, of an old server": {func(m *malicious) {
		m.old()
		m.send = func(w http.ResponseWriter, _ *http.Request) {
			endless(w, pkt("shallow "+strings.Repeat("1", 40)+"\n"))
		}
	}, ErrTooLarge},
	"acknowledgments endless, of an old server": {func(m *malicious) {
		m.old()
		m.send = func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "0000")
			endless(w, pkt("ACK "+strings.Repeat("1", 40)+" common\n"))
		}
	}, ErrTooLarge},
	"progress endless, of an old server": {func(m *malicious) {
		m.old()
		m.send = func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "0000"+pkt("NAK\n"))
			endless(w, pkt("\x02"+strings.Repeat("x", 60000)))
		}
	}, ErrTooLarge},
	"another band": {func(m *malicious) {
		m.send = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, pkt("packfile\n")+pkt("\x07x")+"0000") }
	}, ErrUnreachable},
	"no pack": {func(m *malicious) {
		m.send = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "0000") }
	}, ErrUnreachable},
	"pack of nothing": {func(m *malicious) { m.sends(seal(0, nil)) }, ErrIncomplete},
	"count too high":  {func(m *malicious) { m.sends(seal(0xffffffff, nil)) }, ErrTooLarge},
	"count too low": {func(m *malicious) {
		m.sends(seal(1, append(raw(plumbing.BlobObject, 1, nil, []byte("a")), raw(plumbing.BlobObject, 1, nil, []byte("b"))...)))
	}, ErrUnreachable},
	"checksum":        {func(m *malicious) { p := bytes.Clone(m.pack); p[len(p)-1] ^= 1; m.sends(p) }, ErrUnreachable},
	"no zlib":         {func(m *malicious) { m.sends(seal(1, []byte{0x31, 'x', 'y', 'z', 0, 0, 0, 0, 0, 0, 0, 0})) }, ErrUnreachable},
	"unknown type":    {func(m *malicious) { m.sends(seal(1, raw(5, 1, nil, []byte("a")))) }, ErrUnreachable},
	"size too small":  {func(m *malicious) { m.sends(seal(1, raw(plumbing.BlobObject, 1, nil, make([]byte, 1<<20)))) }, ErrUnreachable},
	"size too large":  {func(m *malicious) { m.sends(seal(1, raw(plumbing.BlobObject, 1000, nil, []byte("a")))) }, ErrUnreachable},
	"size beyond all": {func(m *malicious) { m.sends(seal(1, raw(plumbing.BlobObject, 1<<40, nil, []byte("a")))) }, ErrTooLarge},
	"size overflows":  {func(m *malicious) { m.sends(seal(1, append(bytes.Repeat([]byte{0xbf}, 40), 0))) }, nil},
	"object bomb":     {func(m *malicious) { m.sends(seal(1, raw(plumbing.BlobObject, 32<<20, nil, make([]byte, 32<<20)))) }, ErrTooLarge},
	"many bombs": {func(m *malicious) {
		m.sends(seal(300, bytes.Repeat(raw(plumbing.BlobObject, 8<<20, nil, make([]byte, 8<<20)), 300)))
	}, ErrTooLarge},
	"delta bomb":                         {func(m *malicious) { m.sends(deltaChain(1<<14, 32<<20)) }, ErrTooLarge},
	"delta bombs below the limit of one": {func(m *malicious) { m.sends(deltasOf(1<<14, 15<<20, 4)) }, ErrTooLarge},
	"delta of deltas, very deep":         {func(m *malicious) { m.sends(deltasDeep(maxDeltas + 10)) }, ErrTooLarge},
	"delta of another size": {func(m *malicious) {
		d := copies(4, 4)
		base := raw(plumbing.BlobObject, 5, nil, []byte("abcde"))
		m.sends(seal(2, append(base, raw(plumbing.OFSDeltaObject, uint64(len(d)), back(len(base)), d)...)))
	}, ErrUnreachable},
	"delta beyond its base": {func(m *malicious) {
		d := []byte{4, 4, 0x91, 1, 4} // 4 bytes from 1 on, of 4
		base := raw(plumbing.BlobObject, 4, nil, []byte("abcd"))
		m.sends(seal(2, append(base, raw(plumbing.OFSDeltaObject, uint64(len(d)), back(len(base)), d)...)))
	}, ErrUnreachable},
	"delta between objects": {func(m *malicious) {
		d := copies(4, 4)
		base := raw(plumbing.BlobObject, 4, nil, []byte("abcd"))
		m.sends(seal(2, append(base, raw(plumbing.OFSDeltaObject, uint64(len(d)), back(len(base)-1), d)...)))
	}, ErrUnreachable},
	"many of the same, and deltas of it": {func(m *malicious) { // each with each would take long
		const many = 30_000
		blob := thing{plumbing.BlobObject, []byte("abcd")}
		h, d := blob.hash(), copies(4, 4)
		same := bytes.Repeat(raw(blob.kind, 4, nil, blob.data), many)
		m.sends(seal(2*many, append(same, bytes.Repeat(raw(plumbing.REFDeltaObject, uint64(len(d)), h[:], d), many)...)))
	}, ErrUnreachable},
	"deltas of each other": {func(m *malicious) {
		d := copies(4, 4)
		blob := thing{plumbing.BlobObject, []byte("abcd")}.hash()
		m.sends(seal(2, append(raw(plumbing.REFDeltaObject, uint64(len(d)), blob[:], d), raw(plumbing.REFDeltaObject, uint64(len(d)), blob[:], d)...)))
	}, ErrIncomplete},
	"delta that lies": {func(m *malicious) { m.sends(lyingDelta()) }, ErrUnreachable},
	"delta of itself": {func(m *malicious) {
		d := copies(4, 4)
		m.sends(seal(1, raw(plumbing.OFSDeltaObject, uint64(len(d)), []byte{0}, d)))
	}, ErrUnreachable},
	"delta of nothing": {func(m *malicious) {
		d := copies(4, 4)
		m.sends(seal(1, raw(plumbing.REFDeltaObject, uint64(len(d)), bytes.Repeat([]byte{7}, 20), d)))
	}, ErrIncomplete},
	"twice the same": {func(m *malicious) { b := thing{plumbing.BlobObject, []byte("a")}; m.sends(packOf(b, b)) }, ErrUnreachable},
	"another commit": {func(m *malicious) {
		tree := thing{plumbing.TreeObject, nil}
		c := commitOf(tree.hash())
		m.sends(packOf(tree, c))
	}, ErrIncomplete},
	"the tip is a file": {func(m *malicious) { b := thing{plumbing.BlobObject, []byte("a")}; m.tip = b.hash(); m.sends(packOf(b)) }, ErrIncomplete},
	"no tree": {func(m *malicious) {
		c := commitOf(plumbing.NewHash(strings.Repeat("1", 40)))
		m.tip = c.hash()
		m.sends(packOf(c))
	}, ErrIncomplete},
	"no file": {func(m *malicious) {
		m.over(nil, thing{plumbing.TreeObject, entryOf("100644", "a", plumbing.NewHash(strings.Repeat("1", 40)))})
	}, ErrIncomplete},
	"tree: dots":             {badTree("100644", ".."), ErrBadTree},
	"tree: .git":             {badTree("40000", ".git"), ErrBadTree},
	"tree: .GIT in disguise": {badTree("40000", ".g\u200cIT "), ErrBadTree},
	"tree: slash":            {badTree("100644", "a/b"), ErrBadTree},
	"tree: a device":         {badTree("60000", "sda"), ErrBadTree},
	"tree: twice": {func(m *malicious) {
		b := thing{plumbing.BlobObject, []byte("a")}
		m.over([]thing{b}, thing{plumbing.TreeObject, append(entryOf("100644", "a", b.hash()), entryOf("120000", "a", b.hash())...)})
	}, ErrBadTree},
	"tree: garbage":   {func(m *malicious) { m.over(nil, thing{plumbing.TreeObject, []byte("100644 a")}) }, ErrBadTree},
	"tree: very deep": {deepTree, ErrBadTree},
	"commit: no tree": {func(m *malicious) {
		c := thing{plumbing.CommitObject, []byte("message\n")}
		m.tip = c.hash()
		m.sends(packOf(c))
	}, nil},
	"commit: very long": {func(m *malicious) {
		c := commitOf(plumbing.NewHash("4b825dc642cb6eb9a060e54bf8d69288fbee4904"))
		c.data = append(c.data, make([]byte, maxCommit)...)
		m.tip = c.hash()
		m.sends(packOf(thing{plumbing.TreeObject, nil}, c))
	}, ErrTooLarge},
	"a tag that leads nowhere": {func(m *malicious) {
		c := thing{plumbing.TagObject, []byte("object " + m.tip.String() + "\ntype commit\ntag x\n")}
		m.tip = c.hash()
		m.sends(packOf(c))
	}, ErrIncomplete},
}

func badTree(mode, name string) func(*malicious) {
	return func(m *malicious) {
		b := thing{plumbing.BlobObject, []byte("a")}
		m.over([]thing{b}, thing{plumbing.TreeObject, entryOf(mode, name, b.hash())})
	}
}

func deepTree(m *malicious) {
	tree := thing{plumbing.TreeObject, nil}
	var below []thing
	for range maxDepth + 10 {
		below = append(below, tree)
		tree = thing{plumbing.TreeObject, entryOf("40000", "d", tree.hash())}
	}
	m.over(below, tree)
}

// deltaChain is a base of n bytes and a delta of it that makes target bytes.
func deltaChain(n, target int) []byte {
	base := raw(plumbing.BlobObject, uint64(n), nil, make([]byte, n))
	d := copies(n, target)
	return seal(2, append(base, raw(plumbing.OFSDeltaObject, uint64(len(d)), back(len(base)), d)...))
}

// back writes how far before a delta its base starts.
func back(n int) []byte {
	b := []byte{byte(n & 0x7f)}
	for n >>= 7; n > 0; n >>= 7 {
		n--
		b = append([]byte{0x80 | byte(n&0x7f)}, b...)
	}
	return b
}

// deltasOf is a base of n bytes and many deltas of it, each of which makes target bytes.
func deltasOf(n, target, many int) []byte {
	pack := raw(plumbing.BlobObject, uint64(n), nil, make([]byte, n))
	for i := range many {
		d := copies(n, target-i*n)
		pack = append(pack, raw(plumbing.OFSDeltaObject, uint64(len(d)), back(len(pack)), d)...)
	}
	return seal(uint32(1+many), pack)
}

// deltasDeep is a base and deltas, each of the one before it.
func deltasDeep(deep int) []byte {
	pack, last := raw(plumbing.BlobObject, 4, nil, []byte("abcd")), 0
	for i := range deep {
		at, size := len(pack), 4+i // one byte more each time
		d := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(size)), uint64(size+1))
		d = append(d, 0xb0, byte(size), byte(size>>8), 1, 'x')
		pack = append(pack, raw(plumbing.OFSDeltaObject, uint64(len(d)), back(at-last), d)...)
		last = at
	}
	return seal(uint32(1+deep), pack)
}

// lyingDelta says that it makes 10 bytes and makes a lot more.
func lyingDelta() []byte {
	base := raw(plumbing.BlobObject, 4, nil, []byte("abcd"))
	d := append([]byte{4, 10}, bytes.Repeat([]byte{0x90, 4}, 1<<16)...)
	return seal(2, append(base, raw(plumbing.OFSDeltaObject, uint64(len(d)), []byte{byte(len(base))}, d)...))
}

// Whatever a server does ends in an error, in time and within bounds; nothing of it
// stays; and the next good answer is taken.
func TestHostileServers(t *testing.T) {
	for title, h := range hostile {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			m := startMalicious(t)
			dir := t.TempDir()
			r := open(t, pool(t, Options{Dir: dir, MaxPackBytes: 4 << 20, MaxObjectBytes: 16 << 20}), m.url, Auth{})
			h.be(m)
			wait := time.Minute
			if _, waits, _ := strings.Cut(title, " "); waits == "hangs" || waits == "trickle" {
				wait = 500 * time.Millisecond // what goes on for ever is ended by the context
			}
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			rev, err := r.Poll(ctx, Ref{Branch: "main"})
			if err == nil {
				_, err = r.Fetch(ctx, rev)
			}
			if err == nil || h.want != nil && !errors.Is(err, h.want) || !strings.Contains(err.Error(), m.url) || len(err.Error()) > 2000 || strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("got %v, want %v", err, h.want)
			}
			if title == "too many requests" {
				after := RetryAfter(err)
				if after <= 0 || after > time.Second {
					t.Errorf("to be tried again after %s", after)
				}
				time.Sleep(after) // it is not asked before
			}
			if left := stored(t, dir); len(left) > 0 {
				t.Errorf("this stays: %q", left)
			}
			m.good()
			rev = poll(t, r, Ref{Branch: "main"})
			fetch(t, r, rev)
			if got := files(t, r, rev.Hash); len(got) != 1 || got["a.yaml"] != "kind: A\n" {
				t.Errorf("afterwards: %v", got)
			}
		})
	}
}

// stored lists packs and temporary files below dir.
func stored(t *testing.T, dir string) (out []string) {
	t.Helper()
	for _, pattern := range []string{"*/objects/pack/*", "*/tmp/*", "*/objects/??/*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		must(t, err)
		for _, f := range found {
			info, err := os.Stat(f)
			must(t, err)
			out = append(out, fmt.Sprintf("%s (%d)", filepath.Base(f), info.Size()))
		}
	}
	return out
}

// A mirror that holds good commits keeps them, whatever the server does later.
func TestHostilityLater(t *testing.T) {
	for _, title := range []string{"no file", "tree: dots", "another commit", "delta of nothing", "pack ends early", "checksum", "many bombs"} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			m := startMalicious(t)
			dir := t.TempDir()
			r := open(t, pool(t, Options{Dir: dir, MaxPackBytes: 4 << 20, MaxObjectBytes: 16 << 20}), m.url, Auth{})
			rev := poll(t, r, Ref{Branch: "main"})
			fetch(t, r, rev)
			before := len(stored(t, dir))
			hostile[title].be(m)
			if m.tip.String() == rev.Hash { // the pack is bad, the tip another
				m.tip = plumbing.NewHash(strings.Repeat("2", 40))
			}
			for range 3 {
				bad := poll(t, r, Ref{Branch: "main"})
				if _, err := r.Fetch(t.Context(), bad); err == nil {
					t.Fatal("the fetch succeeded")
				}
				if now := len(stored(t, dir)); now > before {
					t.Errorf("%d files, before it was %d", now, before)
				}
			}
			m.good()
			fetch(t, r, rev) // here, or again
			if got := files(t, r, rev.Hash); got["a.yaml"] != "kind: A\n" {
				t.Errorf("afterwards: %v", got)
			}
		})
	}
}

// readsAsHashed reads every object of a mirror.
func readsAsHashed(t *testing.T, m *mirror) {
	t.Helper()
	s, err := m.store()
	must(t, err)
	defer s.Close()
	for _, p := range s.packs {
		objects, err := p.index.all()
		must(t, err)
		for _, o := range objects {
			if read, err := s.whole(o.hash); err != nil || read.Hash() != o.hash {
				t.Errorf("object %s is read as %v (%v)", o.hash, read, err)
			}
		}
	}
}

func FuzzPack(f *testing.F) {
	good := &malicious{}
	good.good()
	f.Add(good.pack)
	f.Add(deltaChain(64, 1<<16))
	f.Add(lyingDelta())
	f.Add(deltasDeep(5))
	f.Add(seal(1, raw(plumbing.BlobObject, 1<<60, nil, []byte("a"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 12 { // what comes after the checksum is of more interest than the checksum
			sum := sha1.Sum(data)
			data = append(data[:len(data):len(data)], sum[:]...)
		}
		m := newMirror(t.TempDir())
		must(t, m.ensure(t.Context()))
		if m.ingest(t.Context(), bytes.NewReader(data), limits{pack: 1 << 20, object: 1 << 20, heavy: make(chan struct{}, 1)}) == nil {
			readsAsHashed(t, m)
		}
		if left, _ := os.ReadDir(m.tempDir()); len(left) > 0 {
			t.Errorf("%d temporary files stay", len(left))
		}
	})
}
