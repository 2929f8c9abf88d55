package gitrepo

import (
	"context"
	"io"
)

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
)

// transport reaches one repository with one credential.
type transport interface {
	// open starts a conversation with a service. It ends when ctx does, also
	// in the middle of a read.
	open(ctx context.Context, service string) (session, error)
}

// session is one conversation.
type session interface {
	// stateless tells that a request can be sent without reading the
	// advertisement first, as over HTTP.
	stateless() bool
	// advertisement is what the service says first.
	advertisement() (io.ReadCloser, error)
	// call sends a request and returns the answer.
	call(request []byte) (io.ReadCloser, error)
	// explain turns the error of reading into what is known to be its cause.
	explain(err error) error
	// Close ends the conversation.
	Close() error
}

// limited fails, unlike io.LimitReader, when there is more than n.
type limited struct {
	r io.Reader
	n int64
}

func (l *limited) Read(b []byte) (int, error) {
	if l.n <= 0 {
		return 0, ErrTooLarge
	}
	n, err := l.r.Read(b[:min(int64(len(b)), l.n)])
	l.n -= int64(n)
	return n, err
}
