package build

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// Confine closes, for the whole process, the ways kustomize has out of it: its
// loader fetches files through [http.DefaultTransport] and clones bases with the
// git it finds on PATH, and on some input it ends the process through
// [log.Fatal]. Builds of an [Engine] are refused before they fetch anything; this
// holds where kustomize's idea of a remote reference and ours differ. A fatal
// message of kustomize becomes the error of the build; all others are passed on
// to the writer that the standard logger has when Confine is called.
//
// After Confine nothing in the process can use http.DefaultTransport (nor a
// clone of it), unless a request says so ([Unconfined]), or find a program by
// name. Clients of the API server and of
// artifacts bring a transport of their own; client-go falls back to the default
// one where a rest.Config has neither TLS settings nor a Dial. Call it from main,
// after the standard logger has its writer and before anything builds. The
// function it returns undoes it, for tests.
func Confine() (release func()) {
	transport, path := http.DefaultTransport, os.Getenv("PATH")
	http.DefaultTransport = confined(transport)
	os.Unsetenv("PATH")
	writer := log.Writer()
	log.SetOutput(surviving{writer})
	return func() {
		http.DefaultTransport = transport
		os.Setenv("PATH", path)
		log.SetOutput(writer)
	}
}

// confined returns a transport like the one given that dials for nobody but
// requests with an [Unconfined] context. It is of the usual type, since there
// are libraries that assert it, and clone it.
func confined(like http.RoundTripper) *http.Transport {
	t, ok := like.(*http.Transport)
	if !ok {
		t = &http.Transport{}
	}
	t = t.Clone()
	t.DisableKeepAlives = true // or a connection that was allowed would serve one that is not
	dial := t.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	t.DialContext = allowing(dial)
	if t.DialTLSContext != nil {
		t.DialTLSContext = allowing(t.DialTLSContext)
	}
	return t
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

func allowing(dial dialer) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if ctx.Value(unconfined{}) == nil {
			return nil, fmt.Errorf("%s: %w", address, ErrRemote)
		}
		return dial(ctx, network, address)
	}
}

type unconfined struct{}

// Unconfined returns a context whose requests may go through
// [http.DefaultTransport] in spite of Confine. It is for libraries that know no
// other transport; kustomize passes on no context.
func Unconfined(ctx context.Context) context.Context {
	return context.WithValue(ctx, unconfined{}, true)
}

var logTime = regexp.MustCompile(`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(\.\d+)? `)

// surviving is a writer for the standard logger. log.Fatal writes before it
// exits, so a panic here, which every build recovers from, keeps it from that.
type surviving struct{ to io.Writer }

func (s surviving) Write(p []byte) (int, error) {
	if fatalInKustomize() {
		panic(strings.TrimSpace(logTime.ReplaceAllString(string(p), "")))
	}
	return s.to.Write(p)
}

// fatalInKustomize reports whether the writer was called by log.Fatal and that
// by kustomize.
func fatalInKustomize() bool {
	pcs := make([]uintptr, 16)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for fatal := false; ; {
		f, more := frames.Next()
		switch {
		case strings.HasPrefix(f.Function, "log.Fatal"):
			fatal = true
		case fatal:
			return strings.HasPrefix(f.Function, "sigs.k8s.io/kustomize/")
		}
		if !more {
			return false
		}
	}
}
