// Package listener runs an HTTP server as part of a controller's manager: it
// bounds what a client may send and how long it may take, counts requests,
// and stops without cutting off those under way.
package listener

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
)

const (
	maxHeader = 256 << 10 // bytes
	// drain is how long requests under way may take when the process stops.
	drain = 5 * time.Second
)

// Server serves one handler at one address. It implements manager.Runnable.
type Server struct {
	Name    string // for logs
	Addr    string // such as ":9090"
	Handler http.Handler
	// ReadTimeout bounds the reading of one request; 0 means 15 seconds.
	ReadTimeout time.Duration
	// Ready, if set, is called before the server listens. It waits until
	// requests can be answered.
	Ready func(ctx context.Context) error
	// Listening, if set, learns the address, with the port that was chosen
	// for port 0.
	Listening func(net.Addr)
	Log       logr.Logger
}

// NeedLeaderElection is false: every replica answers.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends. It fails when the address cannot be had.
func (s *Server) Start(ctx context.Context) error {
	if s.Ready != nil {
		if err := s.Ready(ctx); err != nil {
			return fmt.Errorf("%s server: %w", s.Name, err)
		}
	}
	l, err := net.Listen("tcp", s.Addr)
	if err != nil {
		return fmt.Errorf("%s server: %w", s.Name, err)
	}
	if s.Listening != nil {
		s.Listening(l.Addr())
	}
	s.Log.Info("listening", "server", s.Name, "address", l.Addr().String())
	return s.serve(ctx, l)
}

func (s *Server) serve(ctx context.Context, l net.Listener) error {
	timeout := s.ReadTimeout
	if timeout == 0 {
		timeout = 15 * time.Second
	}
	server := &http.Server{
		Handler:           s.Handler,
		ReadHeaderTimeout: timeout,
		ReadTimeout:       timeout,
		WriteTimeout:      timeout + time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(quiet{s.Log}, "", 0),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("%s server: %w", s.Name, err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(last); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s server: %w", s.Name, err)
	}
	return nil
}

// quiet takes what net/http has to say about broken connections.
type quiet struct{ log logr.Logger }

func (q quiet) Write(p []byte) (int, error) {
	q.log.V(1).Info("connection", "error", string(p))
	return len(p), nil
}
