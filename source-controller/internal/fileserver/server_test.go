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

// download asks the server for something, as soon as it listens, and returns what it
// has got when it ends.
func download(addr string) <-chan string {
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
	return body
}

// A download that runs when the process is told to stop keeps nobody waiting, and is
// completed, or cut off when its time is over.
func TestStop(t *testing.T) {
	for name, patient := range map[string]bool{"completed": true, "cut off": false} {
		t.Run(name, func(t *testing.T) {
			addr, started, release := freeAddress(t), make(chan struct{}), make(chan struct{})
			s := New(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "half")
				_ = http.NewResponseController(w).Flush()
				close(started)
				<-release
				_, _ = io.WriteString(w, " and half")
			}), logr.Discard())
			if s.NeedLeaderElection() {
				t.Error("a standby does not serve")
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.Start(ctx) }()
			body := download(addr)
			<-started
			stop()
			if err := <-ended; err != nil { // while the download is open
				t.Errorf("the server ended with %v", err)
			}
			last, over := context.WithCancel(t.Context())
			finished := make(chan struct{})
			go func() {
				s.Finish(last)
				close(finished)
			}()
			want := "half and half"
			if patient {
				close(release)
				<-finished
			} else {
				over()
				<-finished
				close(release)
				want = "half"
			}
			if got := <-body; got != want {
				t.Errorf("the download ended with %q, want %q", got, want)
			}
			over()
		})
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
