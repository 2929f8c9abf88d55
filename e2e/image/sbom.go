package image

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
)

const license = "Apache-2.0"

// The parts of SPDX 2.3 that are used (https://spdx.github.io/spdx-spec/v2.3/).
type document struct {
	Version       string         `json:"spdxVersion"`
	DataLicense   string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	CreationInfo  creationInfo   `json:"creationInfo"`
	Packages      []module       `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creationInfo struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type module struct {
	ID               string      `json:"SPDXID"`
	Name             string      `json:"name"`
	Version          string      `json:"versionInfo"`
	DownloadLocation string      `json:"downloadLocation"`
	FilesAnalyzed    bool        `json:"filesAnalyzed"`
	License          string      `json:"licenseDeclared"`
	Checksums        []checksum  `json:"checksums,omitempty"`
	References       []reference `json:"externalRefs"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type reference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

// SBOM returns the bill of materials of a program: an SPDX 2.3 document in JSON
// with the Go release and the modules that the binary says it was built from.
func SBOM(p Program) ([]byte, error) {
	info, err := buildinfo.Read(bytes.NewReader(p.Binary))
	if err != nil {
		return nil, fmt.Errorf("build information of %q: %w", p.Name, err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(p.Binary))
	program := describe("SPDXRef-program", info.Main.Path, p.Version)
	program.License = license
	program.Checksums = []checksum{{"SHA256", sum}}
	d := document{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: p.Name + "-" + p.Version,
		Namespace:     strings.TrimSuffix(p.Source, "/") + "/sbom/" + p.Name + "/" + sum,
		CreationInfo:  creationInfo{p.Created.UTC().Format(time.RFC3339), []string{"Organization: Weir", "Tool: go debug/buildinfo"}},
		Packages:      []module{program, describe("SPDXRef-go", "stdlib", strings.TrimPrefix(info.GoVersion, "go"))},
		Relationships: []relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", program.ID}, {program.ID, "DEPENDS_ON", "SPDXRef-go"}},
	}
	for i, dep := range info.Deps {
		m := describe(fmt.Sprintf("SPDXRef-module-%d", i+1), dep.Path, version(dep, p.Version))
		d.Packages = append(d.Packages, m)
		d.Relationships = append(d.Relationships, relationship{program.ID, "DEPENDS_ON", m.ID})
	}
	return json.MarshalIndent(d, "", "  ")
}

// version returns what a module was built from. Modules of the same source tree
// have the version of the program.
func version(m *debug.Module, own string) string {
	if m.Replace != nil && m.Replace.Version != "" {
		return m.Replace.Version
	}
	if m.Version == "" || m.Version == "(devel)" || m.Replace != nil {
		return own
	}
	return m.Version
}

func describe(id, path, version string) module {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return module{
		ID: id, Name: path, Version: version, DownloadLocation: "NOASSERTION", License: "NOASSERTION",
		References: []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + strings.Join(parts, "/") + "@" + url.PathEscape(version)}},
	}
}
