package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A pkt-line is data or one of three marks (gitprotocol-common(5),
// gitprotocol-v2(5)).
type pktKind uint8

const (
	pktFlush pktKind = iota // 0000: end of a message
	pktDelim                // 0001: end of a section
	pktEnd                  // 0002: end of a response (stateless transports)
	pktData
)

const maxPkt = 65520

// pktReader reads pkt-lines. A payload is valid until the next call.
type pktReader struct {
	r   io.Reader
	buf [maxPkt]byte
}

func (p *pktReader) next() (pktKind, []byte, error) {
	if _, err := io.ReadFull(p.r, p.buf[:4]); err != nil {
		return 0, nil, fmt.Errorf("reading the answer: %w", err)
	}
	n, err := strconv.ParseUint(string(p.buf[:4]), 16, 16)
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("the answer starts with %q: not a git server?", p.buf[:4])
	case n < 3:
		return pktKind(n), nil, nil
	case n == 3 || n > maxPkt:
		return 0, nil, fmt.Errorf("pkt-line length %d is out of range", n)
	}
	body := p.buf[4:n]
	if _, err := io.ReadFull(p.r, body); err != nil {
		return 0, nil, fmt.Errorf("reading the answer: %w", err)
	}
	if msg, ok := bytes.CutPrefix(body, []byte("ERR ")); ok {
		return 0, nil, remoteError(string(msg))
	}
	return pktData, body, nil
}

// line returns the next data line as text, or the mark that stands there.
func (p *pktReader) line() (pktKind, string, error) {
	kind, body, err := p.next()
	return kind, string(bytes.TrimSuffix(body, []byte("\n"))), err
}

// remoteError is what the server said instead of answering.
type remoteError string

func (e remoteError) Error() string { return "the server says: " + serverText(string(e)) }

// Unwrap tells what it means, as far as servers agree on words.
func (e remoteError) Unwrap() error {
	s := strings.ToLower(string(e))
	for _, words := range []string{"not our ref", "not found", "does not exist", "no such", "does not appear to be a git repository", "unadvertised object"} {
		if strings.Contains(s, words) {
			return ErrNotFound
		}
	}
	for _, words := range []string{"denied", "not allowed", "unauthorized", "authentication", "forbidden"} {
		if strings.Contains(s, words) {
			return ErrAuth
		}
	}
	return ErrUnreachable
}

// pktWriter builds a message.
type pktWriter struct{ bytes.Buffer }

func (q *pktWriter) line(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	fmt.Fprintf(q, "%04x%s\n", len(s)+5, s)
}

func (q *pktWriter) delim() { q.WriteString("0001") }
func (q *pktWriter) flush() { q.WriteString("0000") }

// maxTalk bounds what a server says beside a pack, in bytes: progress, of which we ask
// for none, and packets without content, which keep a connection alive.
const maxTalk = 4 << 20

// sideband yields band 1 of a multiplexed section: band 2 is progress, kept in
// said up to a bound, band 3 a fatal message. It ends at the flush mark, never
// at the end of input, so a connection cut in the middle is an error and not a
// short pack.
type sideband struct {
	p    *pktReader
	rest []byte
	said []byte
	talk int // bytes that were not of band 1
	done bool
}

// Read implements io.Reader.
func (s *sideband) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.done {
			return 0, io.EOF
		}
		kind, body, err := s.p.next()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		if kind != pktData {
			s.done = true
			continue
		}
		if len(body) == 0 {
			return 0, errors.New("empty sideband packet")
		}
		if body[0] != 1 || len(body) == 1 {
			if s.talk += 4 + len(body); s.talk > maxTalk {
				return 0, fmt.Errorf("%w: the server sends more than %d bytes of messages beside the data", ErrTooLarge, maxTalk)
			}
		}
		switch body[0] {
		case 1:
			s.rest = body[1:]
		case 2:
			s.said = append(s.said, body[1:min(len(body), 1+2*maxServerText-min(len(s.said), 2*maxServerText))]...)
		case 3:
			return 0, remoteError(body[1:])
		default:
			return 0, fmt.Errorf("sideband %d", body[0])
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
