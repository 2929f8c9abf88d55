package chartindex

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const plainIndex = `apiVersion: v1
entries:
  app:
  - annotations:
      urls: |
        - http://elsewhere/
    apiVersion: v2
    description: "name: other"
    name: app
    digest: "0011"
    urls:
    - app-1.0.0.tgz
    version: 1.0.0
  - name: app
    urls: [charts/app-1.10.0.tgz]
    version: 1.10.0 # newest
  - name: app
    urls:
      - https://cdn.test/app-2.0.0-rc.1.tgz
    version: "2.0.0-rc.1"
  - name: app
    version: 9.0.0
    urls: []
  - name: app
    version: not-a-version
    urls: [x.tgz]
  empty: []
  "../up":
  - name: ../up
    version: 1.0.0
    urls: [x.tgz]
generated: "2024-01-01T00:00:00Z"
`

func TestFind(t *testing.T) {
	asJSON := `{"apiVersion":"v1","generated":"x","entries":{"empty":null,"app":[{"version":"1.0.0","digest":"0011","urls":["app-1.0.0.tgz"],"x":{"y":[]}},{"version":"1.10.0","urls":["charts/app-1.10.0.tgz"]},{"version":"2.0.0-rc.1","urls":["https://cdn.test/app-2.0.0-rc.1.tgz"]}]}}`
	flow := "apiVersion: v1\nentries: {app: [{version: 1.0.0, digest: '0011', urls: [app-1.0.0.tgz]}, {version: 1.10.0, urls: [charts/app-1.10.0.tgz]}, {version: 2.0.0-rc.1, urls: ['https://cdn.test/app-2.0.0-rc.1.tgz']}]}\n"
	for layout, text := range map[string]string{
		"helm": plainIndex, "crlf": strings.ReplaceAll(plainIndex, "\n", "\r\n"), "json": asJSON, "flow": flow,
		"document": "---\n# made by hand\n" + plainIndex, "no end": strings.TrimSuffix(plainIndex, "\n"),
		"deep": strings.ReplaceAll(plainIndex, "\n  ", "\n      "),
	} {
		t.Run(layout, func(t *testing.T) {
			x, err := Parse(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if x.Versions() != 3 {
				t.Errorf("there are %d versions, want 3", x.Versions())
			}
			for text, want := range map[string]string{
				"": "charts/app-1.10.0.tgz", "*": "charts/app-1.10.0.tgz", "1.0.0": "app-1.0.0.tgz", "~1.0": "app-1.0.0.tgz",
				">=1.0.0-0": "https://cdn.test/app-2.0.0-rc.1.tgz", "2.0.0-rc.1": "https://cdn.test/app-2.0.0-rc.1.tgz",
			} {
				if v, err := x.Find("app", text); err != nil || v.URL != want {
					t.Errorf("%q: got %q, %v; want %q", text, v.URL, err, want)
				}
			}
			if v, _ := x.Find("app", "1.0.0"); v.Digest != "0011" {
				t.Errorf("the digest is %q", v.Digest)
			}
			for _, c := range []struct {
				chart, text string
				want        error
			}{{"gone", "", ErrNoChart}, {"app", ">3", ErrNoChart}, {"app", "newest", ErrRange}, {"../up", "", ErrNoChart}} {
				if _, err := x.Find(c.chart, c.text); !errors.Is(err, c.want) {
					t.Errorf("%q %q: got %v, want %v", c.chart, c.text, err, c.want)
				}
			}
		})
	}
}

func TestHostile(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", 'b'+i, 'b'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i)
	}
	for name, text := range map[string]string{
		"empty":       "",
		"blank":       "\n\n",
		"page":        "<html><body>login</body></html>\n",
		"no version":  "entries:\n  app:\n  - name: app\n",
		"list":        "- a\n- b\n",
		"cut json":    `{"apiVersion":"v1","entries":{"app":[{"vers`,
		"wrong json":  `{"apiVersion":"v1","entries":{"app":{"a":1}}}`,
		"deep json":   `{"apiVersion":"v1","entries":{"app":[` + strings.Repeat("[", 1<<20),
		"deep yaml":   "apiVersion: v1\nentries:\n  app:\n  - urls: " + strings.Repeat("[", 1<<19) + "\n",
		"deep flow":   "apiVersion: v1\nentries: " + strings.Repeat("{a: ", 1<<17) + "\n",
		"long line":   "apiVersion: v1\nentries:\n  app:\n  - urls: " + strings.Repeat("x", maxLine) + "\n",
		"big entry":   "apiVersion: v1\nentries:\n  app:\n  - urls:\n" + strings.Repeat("    - "+strings.Repeat("x", 1000)+"\n", 5000),
		"alias bomb":  bomb + "apiVersion: v1\nentries:\n  app:\n  - urls: *j\n",
		"flow bomb":   "apiVersion: v1\nentries: {}\n\"q\": 1\n" + bomb + "entries: {app: *j}\n",
		"wrong field": "apiVersion: v1\nentries:\n  app:\n  - urls: {a: b}\n    version: 1.0.0\n",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			x, err := Parse(strings.NewReader(text))
			if !errors.Is(err, ErrIndex) {
				t.Errorf("got %v and %v, want ErrIndex", x, err)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("that took %s", took)
			}
		})
	}
}

// big is an index of about the given number of bytes, made while it is read.
type big struct {
	left, n int
	part    strings.Reader
}

func (b *big) Read(p []byte) (int, error) {
	if b.part.Len() == 0 {
		if b.n == 0 {
			b.part.Reset("apiVersion: v1\nentries:\n")
		} else if b.left <= 0 {
			return 0, io.EOF
		} else {
			text := ""
			if b.n%100 == 1 {
				text = fmt.Sprintf("  chart-%d:\n", b.n/100)
			}
			b.part.Reset(text + fmt.Sprintf("  - annotations:\n      a: %s\n    description: %s\n    digest: %064d\n    name: chart-%d\n    urls:\n    - https://charts.test/c-%d.tgz\n    version: 1.0.%d\n",
				strings.Repeat("lorem ", 50), strings.Repeat("ipsum ", 60), b.n, (b.n-1)/100, b.n, b.n))
		}
		b.n++
	}
	n, err := b.part.Read(p)
	b.left -= n
	return n, err
}

// TestBig asserts what an index of the largest size that is allowed by default
// costs in memory.
func TestBig(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	x, err := Parse(&big{left: 50 << 20})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d versions of %d charts in %s, %d MiB kept, %d MiB from the system", x.Versions(), x.Charts(), took, kept>>20, after.Sys>>20)
	if x.Versions() < 50_000 || kept > 40<<20 || after.Sys > 150<<20 {
		t.Errorf("%d versions cost %d bytes, %d from the system", x.Versions(), kept, after.Sys)
	}
	runtime.KeepAlive(x)
}

func TestCache(t *testing.T) {
	c := NewCache(2, time.Nanosecond)
	var opened atomic.Int64
	open := func() (io.ReadCloser, error) {
		opened.Add(1)
		return io.NopCloser(strings.NewReader(plainIndex)), nil
	}
	get := func(digest string) {
		if x, err := c.Get(digest, open); err != nil || x.Versions() != 3 {
			t.Errorf("got %v, %v", x, err)
		}
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { get("a") })
	}
	wg.Wait()
	if n := opened.Load(); n != 1 {
		t.Errorf("it was read %d times", n)
	}
	get("b")
	get("c")
	get("a")
	if n := opened.Load(); n != 4 {
		t.Errorf("read %d times, want 4: two are kept", n)
	}
	c.Purge()
	get("a")
	if n := opened.Load(); n != 5 {
		t.Errorf("read %d times, want 5: all were too old", n)
	}
	failing := errors.New("no")
	if _, err := c.Get("d", func() (io.ReadCloser, error) { return nil, failing }); !errors.Is(err, failing) {
		t.Errorf("got %v", err)
	}
	get("d")
}

// FuzzParse asserts that nothing panics, and that what is found can be a chart.
func FuzzParse(f *testing.F) {
	f.Add([]byte(plainIndex))
	f.Add([]byte(`{"apiVersion":"v1","entries":{"app":[{"version":"1.0.0","urls":["u"]}]}}`))
	f.Add([]byte("apiVersion: v1\nentries: {a: [{version: 1, urls: [x]}]}"))
	f.Add([]byte("entries:\n- a\n  - b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := Parse(strings.NewReader(string(data)))
		if err != nil {
			return
		}
		for chart, versions := range x.charts {
			if !plain(chart) || len(versions) == 0 || versions[0].URL == "" || versions[0].parsed == nil {
				t.Errorf("the chart %q has %+v", chart, versions)
			}
		}
	})
}
