package provider

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// This file has a small AMQP 1.0 server that does what Azure Event Hubs does
// for a sender, as there is no server that could run in the test's process:
// it takes tokens at $cbs and messages at a hub.
// https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-overview-v1.0-os.html

// described is a value with the descriptor that says what it is.
type described struct {
	code  uint64
	value any
}

// symbol is a text of AMQP's own.
type symbol string

// amqpReader decodes values: unsigned numbers to uint64, others to int64,
// lists to []any, maps to map[any]any.
type amqpReader struct {
	data []byte
	bad  bool
}

func (r *amqpReader) take(n int) []byte {
	if n < 0 || n > len(r.data) {
		r.bad, r.data = true, nil
		return make([]byte, max(n, 0)&0xffff)
	}
	out := r.data[:n]
	r.data = r.data[n:]
	return out
}

func (r *amqpReader) number(n int) uint64 {
	var v uint64
	for _, b := range r.take(n) {
		v = v<<8 | uint64(b)
	}
	return v
}

// amqpSizes are the lengths of the numbers, by constructor.
var amqpSizes = map[byte]int{0x50: 1, 0x52: 1, 0x53: 1, 0x56: 1, 0x60: 2, 0x70: 4, 0x80: 8, 0x54: 1, 0x55: 1, 0x71: 4, 0x81: 8, 0x83: 8}

func (r *amqpReader) value() any {
	if r.bad || len(r.data) == 0 {
		r.bad = true
		return nil
	}
	switch c := r.take(1)[0]; c {
	case 0x00:
		code, _ := r.value().(uint64)
		return described{code, r.value()}
	case 0x40:
		return nil
	case 0x41, 0x42:
		return c == 0x41
	case 0x43, 0x44:
		return uint64(0)
	case 0x45:
		return []any{}
	case 0x54, 0x55, 0x71, 0x81, 0x83:
		return int64(r.number(amqpSizes[c]))
	case 0x56:
		return r.number(1) == 1
	case 0x50, 0x52, 0x53, 0x60, 0x70, 0x80:
		return r.number(amqpSizes[c])
	case 0xa0, 0xb0:
		return r.take(r.length(c))
	case 0xa1, 0xb1:
		return string(r.take(r.length(c)))
	case 0xa3, 0xb3:
		return symbol(r.take(r.length(c)))
	case 0xc0, 0xd0, 0xc1, 0xd1:
		inner := &amqpReader{data: r.take(r.length(c))}
		n := inner.length(c)
		var list []any
		for range n {
			list = append(list, inner.value())
		}
		r.bad = r.bad || inner.bad
		if c == 0xc0 || c == 0xd0 {
			return list
		}
		m := map[any]any{}
		for i := 0; i+1 < len(list); i += 2 {
			m[list[i]] = list[i+1]
		}
		return m
	default: // arrays and what nobody sends
		if c == 0xe0 || c == 0xf0 {
			r.take(r.length(c))
			return nil
		}
		r.bad = true
		return nil
	}
}

// length reads a size or count: a byte, or four in the upper constructors.
func (r *amqpReader) length(c byte) int {
	if c&0x10 != 0 {
		return int(r.number(4))
	}
	return int(r.number(1))
}

// encode is the reverse of value.
func encode(v any) []byte {
	sized := func(c byte, b []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{c}, uint32(len(b))), b...)
	}
	switch v := v.(type) {
	case nil:
		return []byte{0x40}
	case bool:
		if v {
			return []byte{0x41}
		}
		return []byte{0x42}
	case uint64:
		return binary.BigEndian.AppendUint64([]byte{0x80}, v)
	case uint32:
		return binary.BigEndian.AppendUint32([]byte{0x70}, v)
	case uint16:
		return binary.BigEndian.AppendUint16([]byte{0x60}, v)
	case uint8:
		return []byte{0x50, v}
	case int32:
		return binary.BigEndian.AppendUint32([]byte{0x71}, uint32(v))
	case int64:
		return binary.BigEndian.AppendUint64([]byte{0x81}, uint64(v))
	case string:
		return sized(0xb1, []byte(v))
	case symbol:
		return sized(0xb3, []byte(v))
	case []byte:
		return sized(0xb0, v)
	case described:
		return append([]byte{0x00, 0x53, byte(v.code)}, encode(v.value)...)
	case []any:
		inner := binary.BigEndian.AppendUint32(nil, uint32(len(v)))
		for _, item := range v {
			inner = append(inner, encode(item)...)
		}
		return sized(0xd0, inner)
	case map[any]any:
		inner := binary.BigEndian.AppendUint32(nil, uint32(2*len(v)))
		for key, value := range v {
			inner = append(append(inner, encode(key)...), encode(value)...)
		}
		return sized(0xd1, inner)
	}
	panic(fmt.Sprintf("cannot encode %T", v))
}

// Codes of performatives and sections.
const (
	amqpOpen, amqpBegin, amqpAttach, amqpFlow, amqpTransfer, amqpDisposition, amqpDetach, amqpEnd, amqpClose = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18

	amqpProperties, amqpApplication, amqpData, amqpValue = 0x73, 0x74, 0x75, 0x77
)

// hub is the server. Its fields are what it was told, and what it answers.
type hub struct {
	status int32 // of the answer to a token; 0 is 200
	accept bool  // messages

	mu     sync.Mutex
	tokens []map[string]any // properties of put-token, and the token
	events [][]byte         // what was sent
	kinds  []any            // content types
	paths  []string         // addresses that links were for
}

// amqpConn is one connection to a hub.
type amqpConn struct {
	hub   *hub
	in    *bufio.Reader
	out   io.Writer
	links map[string]amqpLink // by channel and handle
	parts []byte              // of a message that comes in several transfers
}

type amqpLink struct {
	address string
	reply   uint64 // handle of the link to $cbs that answers go out on
}

// serve answers one connection until it ends.
func (h *hub) serve(t *testing.T, conn net.Conn) {
	c := &amqpConn{hub: h, in: bufio.NewReader(conn), out: conn, links: map[string]amqpLink{}}
	if err := c.handshake(); err != nil {
		t.Errorf("AMQP: %v", err)
		return
	}
	for {
		channel, body, err := c.frame()
		if err != nil {
			return
		}
		r := &amqpReader{data: body}
		p, ok := r.value().(described)
		if len(body) == 0 {
			continue // it says that it is alive
		}
		fields, isList := p.value.([]any)
		if !ok || !isList || r.bad {
			t.Errorf("AMQP: a frame that cannot be read: %x", body)
			return
		}
		if c.handle(channel, p.code, append(fields, make([]any, 12)...), r.data); p.code == amqpClose {
			return
		}
	}
}

func (c *amqpConn) handshake() error {
	header := make([]byte, 8)
	if _, err := io.ReadFull(c.in, header); err != nil || header[4] != 3 {
		return fmt.Errorf("no SASL: %x, %w", header, err)
	}
	_, _ = c.out.Write(header)
	c.sasl(0x40, []any{symbol("ANONYMOUS")})
	if _, body, err := c.frame(); err != nil || (&amqpReader{data: body}).value().(described).code != 0x41 {
		return fmt.Errorf("no sasl-init: %x, %w", body, err)
	}
	c.sasl(0x44, []any{uint8(0)})
	if _, err := io.ReadFull(c.in, header); err != nil || header[4] != 0 {
		return fmt.Errorf("no AMQP after SASL: %x, %w", header, err)
	}
	_, _ = c.out.Write(header)
	return nil
}

func (c *amqpConn) frame() (channel uint16, body []byte, err error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(c.in, head); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head)
	if size < 8 || size > 1<<20 || head[4] != 2 {
		return 0, nil, fmt.Errorf("frame %x", head)
	}
	body = make([]byte, size-8)
	_, err = io.ReadFull(c.in, body)
	return binary.BigEndian.Uint16(head[6:]), body, err
}

func (c *amqpConn) write(kind byte, channel uint16, body []byte) {
	head := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	head = binary.BigEndian.AppendUint16(append(head, 2, kind), channel)
	_, _ = c.out.Write(append(head, body...))
}

func (c *amqpConn) sasl(code uint64, fields []any) { c.write(1, 0, encode(described{code, fields})) }

func (c *amqpConn) send(channel uint16, code uint64, fields ...any) {
	c.write(0, channel, encode(described{code, fields}))
}

func handleOf(v any) uint32 { n, _ := v.(uint64); return uint32(n) }

func (c *amqpConn) handle(channel uint16, code uint64, f []any, payload []byte) {
	key := func(handle any) string { return fmt.Sprint(channel, "/", handleOf(handle)) }
	switch code {
	case amqpOpen:
		c.send(channel, amqpOpen, "hub", nil, uint32(65536), uint16(100))
	case amqpBegin:
		c.send(channel, amqpBegin, channel, uint32(0), uint32(5000), uint32(5000))
	case amqpAttach:
		c.attach(channel, f, key(f[1]))
	case amqpTransfer:
		c.parts = append(c.parts, payload...)
		if more, _ := f[5].(bool); more {
			return
		}
		message := c.parts
		c.parts = nil
		outcome := c.take(c.links[key(f[0])].address, message)
		if settled, _ := f[4].(bool); !settled {
			c.send(channel, amqpDisposition, true, handleOf(f[1]), nil, true, outcome)
		}
		if c.links[key(f[0])].address == "$cbs" {
			c.answer(channel, message)
		}
	case amqpDetach:
		c.send(channel, amqpDetach, handleOf(f[0]), true)
	case amqpEnd:
		c.send(channel, amqpEnd)
	case amqpClose:
		c.send(channel, amqpClose)
	}
}

// attach answers a link: with credit if the client sends on it.
func (c *amqpConn) attach(channel uint16, f []any, key string) {
	receives, _ := f[2].(bool)
	end := f[6] // the target
	if receives {
		end = f[5]
	}
	address := ""
	if d, ok := end.(described); ok {
		if list, ok := d.value.([]any); ok && len(list) > 0 {
			address, _ = list[0].(string)
		}
	}
	c.hub.mu.Lock()
	c.hub.paths = append(c.hub.paths, address)
	c.hub.mu.Unlock()
	c.links[key] = amqpLink{address: address}
	if receives {
		c.links[fmt.Sprint(channel, "/reply")] = amqpLink{address: address, reply: uint64(handleOf(f[1]))}
	}
	source := described{0x28, []any{address}}
	target := described{0x29, []any{address}}
	mode := func(v any, without uint8) uint8 {
		if n, ok := v.(uint64); ok {
			return uint8(n)
		}
		return without
	}
	c.send(channel, amqpAttach, f[0], handleOf(f[1]), !receives, mode(f[3], 2), mode(f[4], 0), source, target, nil, nil, uint32(0), uint64(1<<20))
	if !receives {
		c.send(channel, amqpFlow, uint32(0), uint32(5000), uint32(0), uint32(5000), handleOf(f[1]), uint32(0), uint32(1000))
	}
}

// sections reads a message.
func sections(message []byte) map[uint64]any {
	out := map[uint64]any{}
	r := &amqpReader{data: message}
	for len(r.data) > 0 && !r.bad {
		if d, ok := r.value().(described); ok {
			out[d.code] = d.value
		}
	}
	return out
}

// take keeps a message and returns what became of it.
func (c *amqpConn) take(address string, message []byte) described {
	h := c.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if address == "$cbs" {
		s := sections(message)
		token := map[string]any{"token": s[amqpValue]}
		if more, ok := s[amqpApplication].(map[any]any); ok {
			for k, v := range more {
				token[fmt.Sprint(k)] = v
			}
		}
		h.tokens = append(h.tokens, token)
		return described{0x24, []any{}} // accepted
	}
	if !h.accept {
		return described{0x25, []any{described{0x1d, []any{symbol("amqp:unauthorized-access"), "no " + planted}}}} // rejected
	}
	r := &amqpReader{data: message} // a batch: messages in sections of data
	for len(r.data) > 0 && !r.bad {
		d, _ := r.value().(described)
		if inner, ok := d.value.([]byte); ok && d.code == amqpData {
			s := sections(inner)
			body, _ := s[amqpData].([]byte)
			h.events = append(h.events, body)
			if properties, ok := s[amqpProperties].([]any); ok && len(properties) > 6 {
				h.kinds = append(h.kinds, properties[6])
			}
		}
	}
	return described{0x24, []any{}}
}

// answer tells what became of a token.
func (c *amqpConn) answer(channel uint16, message []byte) {
	status := c.hub.status
	if status == 0 {
		status = 200
	}
	id := any(nil)
	if p, ok := sections(message)[amqpProperties].([]any); ok && len(p) > 0 {
		id = p[0]
	}
	body := encode(described{amqpProperties, []any{nil, nil, nil, nil, nil, id}})
	body = append(body, encode(described{amqpApplication, map[any]any{"status-code": status, "status-description": "said of " + planted}})...)
	body = append(body, encode(described{amqpValue, nil})...)
	handle := uint32(c.links[fmt.Sprint(channel, "/reply")].reply)
	transfer := encode(described{amqpTransfer, []any{handle, uint32(0), []byte{1}, uint32(0), true, false}})
	c.write(0, channel, append(transfer, body...))
}
