// Package fileserver serves artifacts over HTTP for as long as the process runs,
// on standby replicas too: what waits to lead is ready, and can be told so by its
// readiness probe.
package fileserver

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
)

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

// Start serves from now on and returns when ctx ends, while downloads go on: what waits
// for it, such as giving back the lease, does not wait for them. Finish ends them. It is
// an error if the address cannot be had.
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
	return nil
}

// Finish takes no more requests and returns when the downloads of this moment are done,
// or when ctx ends, which cuts them off. Who downloads tries again.
func (s *Server) Finish(ctx context.Context) {
	if err := s.http.Shutdown(ctx); err != nil {
		s.log.Info("downloads were cut off")
		_ = s.http.Close() // the process ends
	}
}
