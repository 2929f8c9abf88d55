package artifact

import (
	"crypto/rand"
	"errors"
	"os"
	"syscall"
	"testing"
)

// noise is content that cannot be compressed.
func noise(t *testing.T, n int) string {
	t.Helper()
	data := make([]byte, n)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestFullDisk asserts that a full disk is said to be one, leaves what was published
// as it was, and is forgotten when there is room again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no small file system can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := newStore(t, StoreOptions{Dir: dir + "/data"})
	kept := mustPublish(t, s, example, "kept.tar.gz", mustPack(t, s, &files{data: map[string]string{"a": "small"}}, PackOptions{}))
	large := &files{data: map[string]string{"b": noise(t, 2<<20)}}
	for range 3 {
		_, err := s.Pack(t.Context(), large, PackOptions{})
		if !errors.Is(err, ErrStorage) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("a full disk is told as %v", err)
		}
		if left, err := os.ReadDir(s.at(tempFolder)); err != nil || len(left) > 0 {
			t.Fatalf("%d temporary files stay on a full disk (%v)", len(left), err)
		}
	}
	// Not one byte is free: even the smallest file cannot be written.
	filler, err := os.Create(dir + "/filler")
	if err != nil {
		t.Fatal(err)
	}
	block := []byte(noise(t, 4<<10))
	for err == nil {
		_, err = filler.Write(block)
	}
	filler.Close()
	b, err := s.Pack(t.Context(), &files{data: map[string]string{"c": "new"}}, PackOptions{})
	if err == nil {
		_, err = s.Publish(Publication{Object: example, File: "c.tar.gz", Revision: "r"}, b)
	}
	if !errors.Is(err, ErrStorage) {
		t.Errorf("a disk without a free byte is told as %v", err)
	}
	if !s.Present(kept) {
		t.Error("what was published is gone")
	}
	serves(t, s, kept)
	servesNothingWrong(t, s)
	if err := os.Remove(dir + "/filler"); err != nil {
		t.Fatal(err)
	}
	serves(t, s, mustPublish(t, s, example, "c.tar.gz", mustPack(t, s, &files{data: map[string]string{"c": "new"}}, PackOptions{})))
}
