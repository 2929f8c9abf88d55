package toolkit

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary a program that ends when it is asked to, when a test starts it as such.
func TestMain(m *testing.M) {
	if os.Getenv("CHILD_TEST") == "" {
		os.Exit(m.Run())
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	fmt.Println("one\ntwo\nthree")
	select {
	case <-asked:
		fmt.Println("asked")
	case <-time.After(time.Minute):
		os.Exit(3)
	}
}

func TestStopAsksAndKeepsTheLog(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := StartProcess(ProcessOptions{Name: "program", Path: self, Env: []string{"CHILD_TEST=1"}, LogDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); !strings.HasSuffix(p.Tail(1), "three"); {
		if time.Now().After(deadline) {
			t.Fatalf("the program wrote %q", p.Tail(10))
		}
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if got := p.Tail(2); got != "three\nasked" {
		t.Errorf("end of the log = %q, want %q", got, "three\nasked")
	}
	select {
	case <-p.Ended():
	default:
		t.Error("stopped, but not ended")
	}
}

func TestStartNamesWhatIsMissing(t *testing.T) {
	_, err := StartProcess(ProcessOptions{Name: "program", Path: "/no/such/program", LogDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "starting program") {
		t.Errorf("error = %v, want one that names the program", err)
	}
}
