package sourcetest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Attack is how a server answers that means harm.
type Attack struct {
	http.HandlerFunc
	// Slow says that it may take all the time that the object has, and Silent that it
	// says nothing in that time.
	Slow, Silent bool
}

// bombSize is what a bomb expands to, in bytes: more than the tests allow.
const bombSize = 64 << 20

// Attacks are what a server may do to everybody who asks it for a file, by name: all,
// or those that are named.
func Attacks(names ...string) map[string]Attack {
	all := map[string]Attack{
		"hang":            {hang, true, true},
		"trickle":         {trickle, true, false},
		"trickled-header": {trickledHeader, true, true},
		"reset":           {reset, false, false},
		"endless":         {endless, false, false},
		"endless-header":  {endlessHeader, false, false},
		"redirects":       {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) }, false, false},
		"longer-redirects": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"?"+r.URL.RawQuery+"x", http.StatusTemporaryRedirect)
		}, false, false},
		"to-a-file": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, false, false},
		"no-http":        {raw("220 mail.test ESMTP\r\n"), false, false},
		"wrong-length":   {raw("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"), false, false},
		"bad-chunks":     {raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\n"), false, false},
		"wrong-type":     {page, false, false},
		"bomb":           {bomb, false, false},
		"nothing":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }, false, false},
		"no-content":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, false, false},
		"not-modified":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }, false, false},
		"another-status": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, false, false},
	}
	for name := range all {
		if len(names) > 0 && !slices.Contains(names, name) {
			delete(all, name)
		}
	}
	return all
}

// hang says nothing.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// trickle sends a byte now and then.
func trickle(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	for r.Method != http.MethodHead { // whose answer has no body, whatever is written
		if _, err := io.WriteString(w, "#"); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// connection takes over the connection of a request.
func connection(w http.ResponseWriter, fn func(net.Conn)) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(fmt.Sprintf("the tests' servers speak HTTP/1.1: %v", err))
	}
	defer conn.Close()
	fn(conn)
}

// trickledHeader never comes to its body.
func trickledHeader(w http.ResponseWriter, _ *http.Request) {
	connection(w, func(c net.Conn) {
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
		for err == nil {
			time.Sleep(5 * time.Millisecond)
			_, err = io.WriteString(c, "x")
		}
	})
}

// reset breaks off in the middle of what looks right.
func reset(w http.ResponseWriter, _ *http.Request) {
	connection(w, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\napiVersion: v1\nentries:\n")
		if tcp, ok := c.(interface{ SetLinger(int) error }); ok {
			_ = tcp.SetLinger(0)
		}
	})
}

// endless never stops.
func endless(w http.ResponseWriter, r *http.Request) {
	line := []byte(strings.Repeat("#", 64<<10-1) + "\n")
	for r.Method != http.MethodHead {
		if _, err := w.Write(line); err != nil {
			return
		}
	}
}

// endlessHeader never stops before the body.
func endlessHeader(w http.ResponseWriter, _ *http.Request) {
	connection(w, func(c net.Conn) {
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for i := 0; err == nil; i++ {
			_, err = fmt.Fprintf(c, "X-%d: %s\r\n", i, strings.Repeat("x", 4096))
		}
	})
}

func raw(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		connection(w, func(c net.Conn) { _, _ = io.WriteString(c, text) })
	}
}

// page is what a captive portal shows.
func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<!DOCTYPE html><html><body>Please log in</body></html>")
}

// bomb is small as it is sent.
func bomb(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	_, _ = w.Write(packed())
}

var packed = sync.OnceValue(func() []byte {
	var out bytes.Buffer
	zw, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		panic(err)
	}
	block := make([]byte, 1<<20)
	for range bombSize >> 20 {
		_, _ = zw.Write(block) // a Buffer never fails
	}
	_ = zw.Close()
	return out.Bytes()
})
