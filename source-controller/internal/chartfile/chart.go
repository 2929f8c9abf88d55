// Package chartfile reads Helm charts, from archives and folders, and packages them.
//
// A chart is hostile input: its files are bounded in size and number, links and
// names that lead out of it are refused, and charts within charts are carried
// along unread. What is packaged depends on the content alone, not on the time.
// The format is that of Helm's "Charts" topic guide.
package chartfile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"sigs.k8s.io/yaml"
)

var (
	// ErrChart is wrapped when something is no usable chart.
	ErrChart = errors.New("chart")
	// ErrTooLarge is wrapped when a chart has more than is allowed.
	ErrTooLarge = errors.New("larger than allowed")
)

// Bounds of a chart, those of Helm.
const (
	// DefaultMaxArchive is how many bytes the archive of a chart may have when nothing is said.
	DefaultMaxArchive = 10 << 20
	// DefaultMaxFile is how many bytes a file of a chart may have when nothing is said.
	DefaultMaxFile = 5 << 20
	maxTotal       = 100 << 20 // bytes of all files
	maxFiles       = 20_000
)

// Names of files in a chart.
const (
	metadataFile     = "Chart.yaml"
	valuesFile       = "values.yaml"
	requirementsFile = "requirements.yaml"
)

// Limits are what a chart may have.
type Limits struct{ Archive, File int64 } // bytes; 0 means the default

// MaxFile returns the bytes that a file in a chart may have.
func (l Limits) MaxFile() int64 {
	if l.File <= 0 {
		return DefaultMaxFile
	}
	return l.File
}

// MaxArchive returns the bytes that an archive may have.
func (l Limits) MaxArchive() int64 {
	if l.Archive <= 0 {
		return DefaultMaxArchive
	}
	return l.Archive
}

// Chart is a chart in memory.
type Chart struct {
	Metadata *chartv2.Metadata
	files    map[string][]byte // by path within the chart
}

// Files collects what becomes a Chart.
type Files struct {
	limits Limits
	files  map[string][]byte
	total  int64
}

// NewFiles returns an empty collection.
func NewFiles(l Limits) *Files { return &Files{limits: l, files: map[string][]byte{}} }

// Add reads a file. Errors wrap ErrChart or are those of r.
func (f *Files) Add(name string, r io.Reader) error {
	if name == "" || name != path.Clean(name) || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\\:\x00") {
		return fmt.Errorf("%w: the file name %q leads out of it or is not portable", ErrChart, name)
	}
	if _, twice := f.files[name]; twice {
		return fmt.Errorf("%w: it has the file %q twice", ErrChart, name)
	}
	if len(f.files) == maxFiles {
		return fmt.Errorf("%w: it has more than %d files: %w", ErrChart, maxFiles, ErrTooLarge)
	}
	limit := min(f.limits.MaxFile(), maxTotal-f.total)
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return err
	}
	if int64(len(data)) > limit {
		return fmt.Errorf("%w: the file %q: %w: %d bytes are allowed in a file, %d in all", ErrChart, name, ErrTooLarge, f.limits.MaxFile(), maxTotal)
	}
	f.total += int64(len(data))
	f.files[name] = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	return nil
}

// Chart returns the files as a chart, if they are one.
func (f *Files) Chart() (*Chart, error) {
	text, found := f.files[metadataFile]
	if !found {
		return nil, fmt.Errorf("%w: it has no %q", ErrChart, metadataFile)
	}
	c := &Chart{Metadata: &chartv2.Metadata{}, files: f.files}
	if err := yaml.Unmarshal(text, c.Metadata); err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrChart, metadataFile, err)
	}
	if c.Metadata.APIVersion == "" {
		c.Metadata.APIVersion = chartv2.APIVersionV1
	}
	if old, found := f.files[requirementsFile]; found && c.Metadata.APIVersion == chartv2.APIVersionV1 {
		var requirements struct {
			Dependencies []*chartv2.Dependency `json:"dependencies"`
		}
		if err := yaml.Unmarshal(old, &requirements); err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrChart, requirementsFile, err)
		}
		c.Metadata.Dependencies = requirements.Dependencies
	}
	if err := c.Metadata.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrChart, metadataFile, err)
	}
	return c, nil
}

// Read reads the archive of a chart. Errors wrap ErrChart or are those of r.
func Read(r io.Reader, l Limits) (*Chart, error) {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("%w: it is no gzip archive: %w", ErrChart, err)
	}
	files := NewFiles(l)
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files.Chart()
		}
		if err != nil {
			return nil, fmt.Errorf("%w: its archive is broken: %w", ErrChart, err)
		}
		switch h.Typeflag {
		case tar.TypeDir, tar.TypeXGlobalHeader:
			continue
		case tar.TypeReg:
		default:
			return nil, fmt.Errorf("%w: %q is a link or a special file", ErrChart, h.Name)
		}
		top, name, found := strings.Cut(strings.TrimPrefix(h.Name, "./"), "/")
		if !found || top == ".." || top == "" {
			return nil, fmt.Errorf("%w: %q is not in the chart's folder", ErrChart, h.Name)
		}
		if err := files.Add(name, tr); err != nil {
			return nil, fmt.Errorf("%w: reading %q: %w", ErrChart, h.Name, err)
		}
	}
}

// File returns the content of a file, and whether it is there.
func (c *Chart) File(name string) ([]byte, bool) {
	data, found := c.files[name]
	return data, found
}

// Put sets a file.
func (c *Chart) Put(name string, data []byte) { c.files[name] = data }

// Embed puts another chart, a dependency, into c.
func (c *Chart) Embed(other *Chart) {
	for name, data := range other.files {
		c.files[path.Join("charts", other.Metadata.Name, name)] = data
	}
}

// Embedded returns the paths below "charts", sorted.
func (c *Chart) Embedded() (names []string) {
	for name := range c.files {
		if rest, found := strings.CutPrefix(name, "charts/"); found {
			names = append(names, rest)
		}
	}
	slices.Sort(names)
	return names
}

// SetVersion changes the version; the rest of the metadata stays.
func (c *Chart) SetVersion(version string) error {
	if version == c.Metadata.Version {
		return nil
	}
	var all map[string]any
	if err := yaml.Unmarshal(c.files[metadataFile], &all); err != nil {
		return fmt.Errorf("%w: %q: %w", ErrChart, metadataFile, err)
	}
	all["version"] = version
	text, err := yaml.Marshal(all)
	if err != nil {
		return fmt.Errorf("%w: %q: %w", ErrChart, metadataFile, err)
	}
	c.files[metadataFile], c.Metadata.Version = text, version
	return nil
}

// SetValues makes the given documents, merged in their order, the default values.
func (c *Chart) SetValues(documents [][]byte) error {
	values := map[string]any{}
	for _, document := range documents {
		next, err := loader.LoadValues(bytes.NewReader(document))
		if err != nil {
			return err
		}
		values = loader.MergeMaps(values, next)
	}
	text, err := yaml.Marshal(values)
	if err != nil {
		return err
	}
	c.files[valuesFile] = text
	return nil
}

// Package returns the archive of c: the same bytes for the same files.
func (c *Chart) Package() ([]byte, error) {
	names := make([]string, 0, len(c.files))
	for name := range c.files {
		names = append(names, name)
	}
	slices.Sort(names)
	if i := slices.Index(names, metadataFile); i > 0 { // first, as Helm has it
		names = slices.Insert(slices.Delete(names, i, i+1), 0, metadataFile)
	}
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	for _, name := range names {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(c.Metadata.Name, name), Mode: 0o644, Size: int64(len(c.files[name])), ModTime: time.Unix(0, 0)}
		if err := tw.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("%w: packaging %q: %w", ErrChart, name, err)
		}
		if _, err := tw.Write(c.files[name]); err != nil {
			return nil, fmt.Errorf("%w: packaging %q: %w", ErrChart, name, err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
