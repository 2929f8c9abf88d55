package fileserver

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A download that runs when the process is told to stop is completed.
func TestStop(t *testing.T) {
	addr, started, release := freeAddress(t), make(chan struct{}), make(chan struct{})
	s := New(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-release
		io.WriteString(w, "whole")
	}), logr.Discard())
	if s.NeedLeaderElection() {
		t.Error("a standby does not serve")
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Start(ctx) }()
	body := make(chan string, 1)
	go func() {
		for range 1000 {
			resp, err := http.Get("http://" + addr)
			if err != nil { // not listening yet
				time.Sleep(time.Millisecond)
				continue
			}
			defer resp.Body.Close()
			data, _ := io.ReadAll(resp.Body)
			body <- string(data)
			return
		}
	}()
	<-started
	stop()
	close(release)
	if got := <-body; got != "whole" {
		t.Errorf("the download ended with %q", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

func TestAddressTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := New(l.Addr().String(), http.NotFoundHandler(), logr.Discard()).Start(t.Context()); err == nil {
		t.Error("an address that is taken is no error")
	}
}
