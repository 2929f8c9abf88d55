package build

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/artifact"
)

// reversed stands for encryption: content that begins with a mark is reversed.
func reversed(key string, calls *[]string) *Decryption {
	plain := func(data []byte) []byte {
		rest, ok := strings.CutPrefix(string(data), "sealed:")
		if !ok {
			return data
		}
		return []byte(key + rest)
	}
	return &Decryption{Key: key,
		File: func(_ context.Context, p string, data []byte) ([]byte, error) {
			*calls = append(*calls, p)
			if string(data) == "broken" {
				return nil, errors.New("no key")
			}
			return plain(data), nil
		},
		Object: func(_ context.Context, data []byte) ([]byte, error) { return data, nil }}
}

func TestDecryptedFiles(t *testing.T) {
	tree := artifact.NewTree(map[string][]byte{
		"kustomization.yaml":      []byte("resources: [base]\nsecretGenerator:\n- name: a\n  files: [x=a.txt]\nconfigMapGenerator:\n- name: c\n  files: [x=c.txt]\n"),
		"a.txt":                   []byte("sealed:a"),
		"c.txt":                   []byte("sealed:c"),
		"base/kustomization.yaml": []byte("secretGenerator:\n- name: b\n  files: [x=../b.txt]\n"),
		"b.txt":                   []byte("sealed:b"),
	}, nil)
	e := New(Options{})
	var calls []string
	build := func(d *Decryption) *Result {
		t.Helper()
		r, err := e.Build(t.Context(), tree, Spec{Scope: "s", Decrypt: d})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := build(reversed("k1", &calls))
	if got := strings.Join(calls, " "); !strings.Contains(got, "a.txt") || !strings.Contains(got, "b.txt") || strings.Contains(got, "c.txt") {
		t.Errorf("decrypted %s, want what secretGenerators read", got)
	}
	if !build(reversed("k1", &calls)).Cached {
		t.Error("the same build with the same keys is not cached")
	}
	second := build(reversed("k2", &calls))
	if second.Cached || second.Digest == first.Digest {
		t.Error("other keys give the former result")
	}
	if n := len(e.cache.keys); n != 1 {
		t.Errorf("%d builds are remembered, want those with the present keys only", n)
	}
	e.Forget("s")
	if n := len(e.cache.keys); n != 0 {
		t.Errorf("%d builds are remembered after their keys were taken away", n)
	}
	if build(nil).Digest == first.Digest {
		t.Error("without keys it is decrypted")
	}
}

func TestFailedDecryptionIsNotRemembered(t *testing.T) {
	tree := artifact.NewTree(map[string][]byte{
		"kustomization.yaml": []byte("secretGenerator:\n- name: a\n  files: [a.txt]\n"), "a.txt": []byte("broken"),
	}, nil)
	e := New(Options{})
	var calls []string
	for range 2 {
		_, err := e.Build(t.Context(), tree, Spec{Decrypt: reversed("k", &calls)})
		if !errors.Is(err, ErrDecryption) || !strings.Contains(err.Error(), `"a.txt"`) {
			t.Errorf("error is %v", err)
		}
	}
	if len(calls) != 2 {
		t.Errorf("it was tried %d times, want 2", len(calls))
	}
}
