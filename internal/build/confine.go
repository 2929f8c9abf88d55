package build

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
)

// Confine closes, for the whole process, the two ways kustomize has out of it:
// its loader fetches files through [http.DefaultTransport] and clones bases with
// the git it finds on PATH. Builds of an [Engine] are refused before they get so
// far; this holds where kustomize's idea of a remote reference and ours differ.
//
// After Confine nothing in the process can use http.DefaultTransport (nor a
// clone of it) or find a program by name: clients of the API server and of
// artifacts bring a transport of their own. Call it from main before anything
// starts. The function it returns undoes it, for tests.
func Confine() (release func()) {
	transport, path := http.DefaultTransport, os.Getenv("PATH")
	// Of the usual type, since there are libraries that assert it.
	http.DefaultTransport = &http.Transport{
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			return nil, fmt.Errorf("%s: %w", address, ErrRemote)
		},
	}
	os.Unsetenv("PATH")
	return func() {
		http.DefaultTransport = transport
		os.Setenv("PATH", path)
	}
}
