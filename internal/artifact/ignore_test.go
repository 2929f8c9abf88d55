package artifact

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/sourceignore"
	"github.com/fluxcd/pkg/sourceignore/gitignore"
	"github.com/google/go-cmp/cmp"
)

func TestIgnore(t *testing.T) {
	tests := map[string]struct {
		files  []string
		ignore map[string]string // .sourceignore by folder
		spec   string
		want   []string
		unread []string // folders that are passed over
	}{
		"defaults": {
			files:  []string{"a.yaml", "a.JPG", "b.jpg", "x/c.tar.gz", ".git/config", ".github/w.yaml", "x/.github/w", ".travis.yml", "x/.sops.yaml", ".gitmodules"},
			want:   []string{"a.JPG", "a.yaml", "x/"},
			unread: []string{".git", ".github", "x/.github"},
		},
		"defaults taken back": {
			files: []string{"b.jpg", ".github/w.yaml"}, spec: "!.github/\n!*.jpg",
			want: []string{".github/", ".github/w.yaml", "b.jpg"},
		},
		"only one folder": {
			files: []string{"deploy/a.yaml", "deploy/b.md", "src/main.go", "README.md"}, spec: "# all\n/*\n# but\n!/deploy\n/deploy/**/*.md\n",
			want: []string{"deploy/", "deploy/a.yaml"}, unread: []string{"src"},
		},
		"only one folder below": {
			files: []string{"deploy/prod/a.yaml", "deploy/dev/b.yaml", "src/main.go"}, spec: "/*\n!/deploy/prod",
			want: []string{"deploy/prod/", "deploy/prod/a.yaml"}, unread: []string{"src", "deploy/dev"},
		},
		"ignore file": {
			files: []string{"a/x.txt", "a/y.txt", "b/x.txt"}, ignore: map[string]string{"a": "x.txt\n"},
			want: []string{"a/", "a/.sourceignore", "a/y.txt", "b/", "b/x.txt"},
		},
		"ignore file is of its folder": {
			files: []string{"a/x.txt", "x.txt", "a/b/x.txt"}, ignore: map[string]string{"a": "/x.txt\n"},
			want: []string{"a/", "a/.sourceignore", "a/b/", "a/b/x.txt", "x.txt"},
		},
		"spec beats file": {
			files: []string{"a/x.txt"}, ignore: map[string]string{"": "x.txt\r\n"}, spec: "!x.txt",
			want: []string{".sourceignore", "a/", "a/x.txt"},
		},
		"deeper file beats upper": {
			files: []string{"a/x.txt", "b/x.txt"}, ignore: map[string]string{"": "x.txt", "a": "!x.txt"},
			want: []string{".sourceignore", "a/", "a/.sourceignore", "a/x.txt", "b/"},
		},
		"all": {files: []string{"a/x.txt", "b"}, spec: "*", want: nil, unread: []string{"a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			src := &tracked{files: files{data: map[string]string{}}}
			for _, f := range tt.files {
				src.data[f] = ""
			}
			for folder, rules := range tt.ignore {
				src.data[strings.TrimPrefix(folder+"/.sourceignore", "/")] = rules
			}
			chosen, err := choose(t.Context(), src, Ignore{Patterns: tt.spec}, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, paths(chosen)); d != "" {
				t.Errorf("chosen (-want +got):\n%s", d)
			}
			for _, folder := range tt.unread {
				if slices.Contains(src.folders, folder) {
					t.Errorf("the folder %q was read", folder)
				}
			}
			if d := cmp.Diff(upstream(t, src.data, tt.spec), onlyFiles(chosen)); d != "" {
				t.Errorf("other files than the wire API's (-want +got):\n%s", d)
			}
		})
	}
}

type tracked struct {
	files
	folders []string
}

func (s *tracked) ReadDir(folder string) ([]Entry, error) {
	s.folders = append(s.folders, folder)
	return s.files.ReadDir(folder)
}

func paths(chosen []packed) []string {
	var out []string
	for _, p := range chosen {
		if p.Dir {
			p.path += "/"
		}
		out = append(out, p.path)
	}
	return out
}

func onlyFiles(chosen []packed) []string {
	var out []string
	for _, p := range chosen {
		if !p.Dir {
			out = append(out, p.path)
		}
	}
	slices.Sort(out)
	return out
}

// upstream chooses files as the wire API says: every file on its own, through the
// library's matcher over all patterns of all folders.
func upstream(t *testing.T, data map[string]string, spec string) []string {
	t.Helper()
	dir := t.TempDir()
	for p, content := range data {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(p)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, p), []byte(strings.ReplaceAll(content, "\r", "")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ps, err := sourceignore.LoadIgnorePatterns(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	ps = append(ps, sourceignore.ReadPatterns(strings.NewReader(spec), nil)...)
	m := sourceignore.NewDefaultMatcher(ps, nil)
	var out []string
	for p := range data {
		if !m.Match(strings.Split(p, "/"), false) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// FuzzIgnore holds the walk that passes folders over against the matcher that
// looks at every file.
func FuzzIgnore(f *testing.F) {
	f.Add("/*\n!/deploy/prod", "*.md")
	f.Add("**/a\n!b/**\n", "!a")
	f.Add("a/\n!a/b/c\n/b/\n!c", "")
	f.Add("[a-\n\\", "!")
	names := []string{"a", "deploy", "x.md"}
	data := map[string]string{}
	for _, p := range names {
		for _, q := range names {
			for _, r := range names {
				data[p+"/"+q+"/"+r+"/f.yaml"] = ""
				data[p+"/"+q+"/"+r+"/x.md"] = ""
			}
		}
	}
	f.Fuzz(func(t *testing.T, spec, file string) {
		if len(spec)+len(file) > 4096 || strings.ContainsAny(spec+file, "\r") {
			return
		}
		src := &files{data: map[string]string{".sourceignore": file}}
		for p := range data {
			src.data[p] = ""
		}
		chosen, err := choose(t.Context(), src, Ignore{Patterns: spec}, 10000)
		if err != nil {
			return
		}
		var ps []gitignore.Pattern
		ps = append(ps, sourceignore.ReadPatterns(strings.NewReader(file), nil)...)
		ps = append(ps, sourceignore.ReadPatterns(strings.NewReader(spec), nil)...)
		m := sourceignore.NewDefaultMatcher(ps, nil)
		var want []string
		for p := range src.data {
			if !m.Match(strings.Split(p, "/"), false) {
				want = append(want, p)
			}
		}
		slices.Sort(want)
		if d := cmp.Diff(want, onlyFiles(chosen)); d != "" {
			t.Errorf("chosen (-want +got):\n%s", d)
		}
	})
}
