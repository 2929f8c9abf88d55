package gitrepo

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// command writes the head of a v2 request (gitprotocol-v2(5)).
func command(caps *capabilities, name string) *pktWriter {
	q := new(pktWriter)
	q.line("command=%s", name)
	if caps.has("agent") {
		q.line("agent=%s", userAgent)
	}
	if f, ok := caps.of["object-format"]; ok {
		q.line("object-format=%s", f)
	}
	q.delim()
	return q
}

func listV2(s session, caps *capabilities, prefixes []string) ([]remoteRef, error) {
	q := command(caps, "ls-refs")
	q.line("peel")
	for _, prefix := range prefixes {
		q.line("ref-prefix %s", prefix)
	}
	q.flush()
	body, err := s.call(q.Bytes())
	if err != nil {
		return nil, err
	}
	defer body.Close()
	p := &pktReader{r: &limited{r: body, n: maxAdvert}}
	var refs []remoteRef
	for {
		kind, line, err := p.line()
		if err != nil {
			return nil, err
		}
		if kind != pktData {
			return refs, nil
		}
		f := strings.Fields(line)
		if len(f) < 2 || len(f[0]) != 40 {
			continue // "unborn HEAD" of an empty repository
		}
		if !wanted(f[1], prefixes) {
			continue
		}
		r := remoteRef{Name: strings.Clone(f[1]), Hash: plumbing.NewHash(f[0])}
		for _, attr := range f[2:] {
			if v, ok := strings.CutPrefix(attr, "peeled:"); ok {
				r.Peeled = plumbing.NewHash(v)
			}
		}
		refs = append(refs, r)
	}
}

func fetchV2(s session, caps *capabilities, fr fetchRequest, sink func(io.Reader) error) error {
	q := command(caps, "fetch")
	q.line("ofs-delta")
	q.line("no-progress")
	if len(fr.haves) > 0 {
		q.line("thin-pack") // what makes depth 1 incremental
	}
	writeShallow(q, fr)
	for _, h := range fr.wants {
		q.line("want %s", h)
	}
	for _, h := range fr.haves {
		q.line("have %s", h)
	}
	q.line("done")
	q.flush()
	body, err := s.call(q.Bytes())
	if err != nil {
		return err
	}
	defer body.Close()
	p := &pktReader{r: &limited{r: body, n: maxPreface}}
	for {
		kind, line, err := p.line()
		switch {
		case err != nil:
			return prefaceError(err)
		case kind == pktFlush || kind == pktEnd:
			return errors.New("the answer has no pack")
		case line == "packfile":
			p.r = body
			return sink(&sideband{p: p})
		} // the sections shallow-info and acknowledgments say what is known
	}
}

// maxPreface bounds what comes before a pack, in bytes: a line for each commit that has
// no parents here, and one for each that both have.
const maxPreface = 1 << 20

func prefaceError(err error) error {
	if errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("%w: the server sends more than %d bytes before the pack", ErrTooLarge, maxPreface)
	}
	return err
}

// writeShallow says that the parents of what is here are not here. Where that
// is not so, it costs nothing.
func writeShallow(q *pktWriter, fr fetchRequest) {
	for _, h := range fr.haves {
		q.line("shallow %s", h)
	}
	if fr.depth > 0 {
		q.line("deepen %d", fr.depth)
	}
}

// fetchV0 is fetchV2 for old servers (gitprotocol-pack(5)), with the same
// cost: what go-git's own client lacks there is thin packs and increments at
// depth 1.
func fetchV0(s session, caps *capabilities, fr fetchRequest, sink func(io.Reader) error) error {
	if !caps.has("side-band-64k") {
		return fmt.Errorf("%w: the server offers no %q: too old", ErrUnreachable, "side-band-64k")
	}
	if fr.depth > 0 && !caps.has("shallow") {
		fr.depth, fr.haves = 0, nil // a server that sends all or nothing
	}
	use := []string{"side-band-64k"}
	for _, name := range []string{"multi_ack_detailed", "ofs-delta", "thin-pack", "no-progress"} {
		if caps.has(name) && (name != "thin-pack" || len(fr.haves) > 0) {
			use = append(use, name)
		}
	}
	if caps.has("agent") {
		use = append(use, "agent="+userAgent)
	}
	q := new(pktWriter)
	for i, h := range fr.wants {
		if i == 0 {
			q.line("want %s %s", h, strings.Join(use, " "))
		} else {
			q.line("want %s", h)
		}
	}
	writeShallow(q, fr)
	q.flush()
	for _, h := range fr.haves {
		q.line("have %s", h)
	}
	q.line("done")
	body, err := s.call(q.Bytes())
	if err != nil {
		return err
	}
	defer body.Close()
	p := &pktReader{r: &limited{r: body, n: maxPreface}}
	if err := skipAcks(p, fr.depth > 0); err != nil {
		return prefaceError(err)
	}
	p.r = body
	return sink(&sideband{p: p})
}

// skipAcks reads up to the pack: the shallow section when there was a depth,
// then acknowledgements up to the final one.
func skipAcks(p *pktReader, shallow bool) error {
	for {
		kind, line, err := p.line()
		f := strings.Fields(line)
		switch {
		case err != nil:
			return err
		case kind == pktFlush && shallow:
			shallow = false
		case kind == pktData && shallow && len(f) == 2 && (f[0] == "shallow" || f[0] == "unshallow"):
		case kind == pktData && !shallow && (line == "NAK" || len(f) == 2 && f[0] == "ACK"):
			return nil
		case kind == pktData && !shallow && len(f) == 3 && f[0] == "ACK":
		default:
			return fmt.Errorf("unexpected answer %q before the pack", serverText(line))
		}
	}
}
