package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// TestMain makes the test binary the program itself when a test starts it as such.
func TestMain(m *testing.M) {
	if os.Getenv("WEIR_LOCAL_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// running is a control plane in a child process.
type running struct {
	started
	cmd   *exec.Cmd
	stdin io.Closer
	tmp   string // what the process has as its directory for temporary files
}

func startControlPlane(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"control-plane", "--with-parent", "--quiet", "--dir", dir}, args...)...)
	r := &running{cmd: cmd, tmp: t.TempDir()}
	cmd.Env = append(os.Environ(), "WEIR_LOCAL_MAIN=1", "TMPDIR="+r.tmp)
	cmd.Stderr = os.Stderr
	if r.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("no line on standard output: %v", err)
	}
	if err := json.Unmarshal(line, &r.started); err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
	return r
}

func (r *running) client(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", r.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return kubernetes.NewForConfigOrDie(cfg)
}

// ended waits for the process and checks that nothing of it is left.
func (r *running) ended(t *testing.T) {
	t.Helper()
	late := time.AfterFunc(30*time.Second, func() { _ = r.cmd.Process.Kill() })
	defer late.Stop()
	if err := r.cmd.Wait(); err != nil {
		t.Errorf("control plane: %v", err)
	}
	if err := syscall.Kill(r.PID, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there (%v)", r.PID, err)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL, "https://")); err == nil {
		_ = conn.Close()
		t.Errorf("%s still answers", r.URL)
	}
	if left, err := os.ReadDir(r.tmp); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
}

func TestControlPlaneKeepsItsData(t *testing.T) {
	dir := t.TempDir()
	first := startControlPlane(t, dir)
	note := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "note"}, Data: map[string]string{"a": "b"}}
	if _, err := first.client(t).CoreV1().ConfigMaps("default").Create(t.Context(), note, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := first.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	first.ended(t)

	second := startControlPlane(t, dir)
	got, err := second.client(t).CoreV1().ConfigMaps("default").Get(t.Context(), "note", metav1.GetOptions{})
	if err != nil || got.Data["a"] != "b" {
		t.Errorf("after a restart: %v, %v; want what was written before", got.Data, err)
	}
	_ = second.stdin.Close()
	second.ended(t)
}

func TestControlPlaneEndsWithItsParent(t *testing.T) {
	dir := t.TempDir() + "/cluster"
	r := startControlPlane(t, dir, "--ephemeral")
	// A watch that is open must not hold up the end.
	watch, err := r.client(t).CoreV1().ConfigMaps("").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	info, err := os.Stat(r.Kubeconfig)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: %v, %v; want mode 0600", info, err)
	}
	began := time.Now()
	_ = r.stdin.Close()
	r.ended(t)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s to end with a watch open", took)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory of an ephemeral control plane: %v, want it gone", err)
	}
}
