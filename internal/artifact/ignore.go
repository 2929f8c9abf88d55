package artifact

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"
	"github.com/fluxcd/pkg/sourceignore/gitignore"
)

// Ignore says what of a source stays out of its artifact. Three lists apply in
// turn, a later match beating an earlier one: the default excludes of the wire
// API (version control, pictures, archives, CI settings), the .sourceignore files
// of the source, each for the folder that it lies in, and Patterns.
type Ignore struct {
	Patterns string // in the format of gitignore(5), one a line
}

// Bounds of ignore files, which come from outside.
const (
	maxIgnoreFile  = 64 << 10 // bytes of one .sourceignore file
	maxIgnoreRules = 10_000   // rules that apply in one folder
)

// rule is one pattern, and what has to be known to tell whether anything below an
// excluded folder can be brought back by it.
type rule struct {
	gitignore.Pattern
	include bool     // it starts with "!"
	domain  []string // folder that the rule is of
	steps   []string // of a pattern with a slash in it; nil for one that matches a name anywhere
	dirOnly bool     // it ends with "/"
	plain   bool     // it is just a name, or "*" and the end of one:
	star    bool
	name    string // without the star
}

// Match implements gitignore.Pattern. Plain names, which most patterns are, are
// compared here, much faster than the library's way.
func (r *rule) Match(path []string, isDir bool) gitignore.MatchResult {
	if !r.plain {
		return r.Pattern.Match(path, isDir)
	}
	if len(path) <= len(r.domain) || !slices.Equal(path[:len(r.domain)], r.domain) {
		return gitignore.NoMatch
	}
	for i := len(r.domain); i < len(path); i++ {
		if r.star && !strings.HasSuffix(path[i], r.name) || !r.star && path[i] != r.name {
			continue
		}
		switch {
		case r.dirOnly && !isDir && i == len(path)-1:
			return gitignore.NoMatch
		case r.include:
			return gitignore.Include
		}
		return gitignore.Exclude
	}
	return gitignore.NoMatch
}

// rules apply in order; the last that matches decides.
type rules []rule

func defaultRules() rules {
	all := strings.Join([]string{sourceignore.ExcludeVCS, sourceignore.ExcludeExt, sourceignore.ExcludeCI, sourceignore.ExcludeExtra}, ",")
	out, _ := parseRules(strings.NewReader(strings.ReplaceAll(all, ",", "\n")), nil)
	return out
}

// parseRules reads patterns that hold below the folder domain. Empty lines and
// those that start with "#" say nothing.
func parseRules(r io.Reader, domain []string) (rules, error) {
	var out rules
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxIgnoreFile+1)
	for lines.Scan() {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if len(out) == maxIgnoreRules {
			return nil, fmt.Errorf("%w: it has more than %d ignore patterns", ErrTooLarge, maxIgnoreRules)
		}
		n := rule{Pattern: gitignore.ParsePattern(line, domain), domain: domain}
		line, n.include = strings.CutPrefix(line, "!")
		line, n.dirOnly = strings.CutSuffix(strings.TrimRight(line, " "), "/")
		if strings.Contains(line, "/") {
			n.steps = strings.Split(strings.TrimPrefix(line, "/"), "/")
		} else {
			n.name, n.star = strings.CutPrefix(line, "*")
			n.plain = n.name != "" && !strings.ContainsAny(n.name, `*?[\`)
		}
		out = append(out, n)
	}
	return out, lines.Err()
}

// verdict tells whether path is ignored and, if it is a folder, whether it can be
// passed over: nothing below it can be brought back.
func (rs rules) verdict(path []string, isDir bool) (ignored, skip bool) {
	for i := len(rs) - 1; i >= 0; i-- {
		switch rs[i].Match(path, isDir) {
		case gitignore.Include:
			return false, false
		case gitignore.Exclude:
			return true, !isDir || !rs[i+1:].reachBelow(path)
		}
	}
	return false, false
}

// reachBelow tells whether a rule may bring back something below the folder.
func (rs rules) reachBelow(folder []string) bool {
	for _, r := range rs {
		if r.include && r.reaches(folder) {
			return true
		}
	}
	return false
}

func (r *rule) reaches(folder []string) bool {
	for i, step := range r.domain {
		if i == len(folder) {
			return true
		}
		if folder[i] != step {
			return false
		}
	}
	below := folder[len(r.domain):]
	for i, step := range r.steps {
		if i == len(below) || step == "**" {
			return true
		}
		if ok, err := filepath.Match(step, below[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// readIgnoreFile returns the rules of the .sourceignore file e in folder.
func readIgnoreFile(src Source, folder []string, e Entry) (rules, error) {
	p := strings.Join(append(folder[:len(folder):len(folder)], e.Name), "/")
	r, _, err := src.Open(p, e)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxIgnoreFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxIgnoreFile {
		return nil, fmt.Errorf("%w: %q has more than %d bytes", ErrIgnore, p, maxIgnoreFile)
	}
	out, err := parseRules(bytes.NewReader(data), folder)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrIgnore, p, err)
	}
	return out, nil
}
