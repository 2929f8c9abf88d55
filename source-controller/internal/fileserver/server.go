// Package fileserver serves artifacts over HTTP for as long as the process runs,
// on standby replicas too: what waits to lead is ready, and can be told so by its
// readiness probe.
package fileserver

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
)

// grace is how long downloads may go on after the process was told to stop. The next
// leader waits for it, and who downloads tries again.
const grace = 2 * time.Second

// Server is a manager.Runnable.
type Server struct {
	addr string
	log  logr.Logger
	http *http.Server
}

// New returns a Server that listens at addr ("host:port", or ":port") from Start on.
func New(addr string, handler http.Handler, log logr.Logger) *Server {
	return &Server{addr: addr, log: log, http: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}}
}

// NeedLeaderElection tells the manager that replicas without the lease serve too.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends, and returns when the downloads of that moment are
// done, or are cut off after two seconds. It is an error if the address cannot be had.
func (s *Server) Start(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.addr)
	if err != nil {
		return err
	}
	s.log.Info("serving artifacts", "address", l.Addr().String())
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := s.http.Shutdown(last); err != nil {
		s.log.Info("downloads were cut off", "after", grace.String())
		return s.http.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
