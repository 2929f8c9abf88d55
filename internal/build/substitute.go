package build

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	"github.com/fluxcd/pkg/envsubst/parse"
	"sigs.k8s.io/yaml"
)

const (
	substituteKey = "kustomize.toolkit.fluxcd.io/substitute"
	disabled      = "disabled"
)

var variableName = regexp.MustCompile(`^[_[:alpha:]][_[:alpha:][:digit:]]*$`)

// Bounds on substitution. Values are chosen by whoever can write a ConfigMap or
// Secret, and some functions multiply them.
const (
	maxExpressions = 50_000               // in one object; the parser recurses once for each
	maxSubstituted = 16 << 20             // bytes that one object may become
	maxPatternWork = int64(2_000_000_000) // byte comparisons of ${name#pattern} and the like, in one build
)

// substituter replaces expressions in the text of objects, by the rules of
// fluxcd/pkg/envsubst. Nil replaces nothing.
type substituter struct {
	values map[string]string
	strict bool
	work   int64 // pattern work left
}

func newSubstituter(s *Substitution) (*substituter, error) {
	if s == nil || len(s.Variables) == 0 && !s.Always {
		return nil, nil
	}
	sub := &substituter{values: make(map[string]string, len(s.Variables)), strict: s.Strict, work: maxPatternWork}
	for _, name := range slices.Sorted(maps.Keys(s.Variables)) {
		if !variableName.MatchString(name) {
			return nil, fmt.Errorf("substitution: the variable name %q is invalid; it must match %s", name, variableName)
		}
		sub.values[name] = strings.ReplaceAll(s.Variables[name], "\n", "")
	}
	return sub, nil
}

// wants reports whether there is anything to replace in the JSON of an object.
func (s *substituter) wants(data []byte) bool {
	return s != nil && bytes.IndexByte(data, '$') >= 0
}

// object replaces the expressions in an object. That is done in its YAML text,
// which is then read again: a value that stands alone and unquoted decides the
// type of the field. Errors never hold a value.
func (s *substituter) object(data []byte) ([]byte, error) {
	text, err := yaml.JSONToYAML(data)
	if err != nil {
		return nil, err
	}
	out, err := s.text(string(text))
	if err != nil {
		return nil, err
	}
	if err := checkAliases([]byte(out)); err != nil {
		return nil, fmt.Errorf("after substitution: %w", err)
	}
	data, err = yaml.YAMLToJSON([]byte(out))
	if err != nil {
		// The parser's message may quote a value.
		return nil, fmt.Errorf("%s is not valid YAML after substitution; quote the expressions whose values need it", at(err))
	}
	if !bytes.HasPrefix(data, []byte("{")) {
		return nil, errors.New("it is not an object any more after substitution")
	}
	return data, nil
}

// at names the line in a YAML error.
func at(err error) string {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		return "line " + m[1] + " of the built object"
	}
	return "the built object"
}

func (s *substituter) text(text string) (out string, err error) {
	defer func() {
		if recover() != nil { // on a negative length, for one
			out, err = "", errors.New("an expression of the object cannot be evaluated; look at its offsets and lengths")
		}
	}()
	if n := strings.Count(text, "$"); n > maxExpressions {
		return "", fmt.Errorf("%w: it has %d substitution expressions, the limit is %d", ErrTooLarge, n, maxExpressions)
	}
	tree, err := parse.Parse(text)
	if err != nil {
		return "", fmt.Errorf("substitution: %w; write $${...} for what is not to be substituted", err)
	}
	missing := map[string]bool{}
	size := s.weigh(tree.Root, missing)
	switch {
	case s.strict && len(missing) > 0:
		return "", unset(slices.Sorted(maps.Keys(missing)))
	case size > maxSubstituted:
		return "", fmt.Errorf("%w: substitution may make it larger than %d MiB", ErrTooLarge, maxSubstituted>>20)
	case s.work < 0:
		return "", fmt.Errorf("%w: its values are too long for expressions with a pattern", ErrTooLarge)
	}
	return envsubst.Eval(text, func(name string) (string, bool) {
		v, ok := s.values[name]
		return v, ok || !s.strict
	})
}

func unset(names []string) error {
	what, it := "variable", "it"
	if len(names) > 1 {
		what, it = "variables", "them"
	}
	for i, n := range names {
		names[i] = fmt.Sprintf("%q", n)
	}
	return fmt.Errorf("substitution: %s %s not set; set %s in spec.postBuild, or give a default with ${name:=default}", what, strings.Join(names, ", "), it)
}

// weigh returns a bound on the size of what n evaluates to, notes the variables
// that have no value where one is needed, and takes the work of patterns off
// what is left.
func (s *substituter) weigh(n parse.Node, missing map[string]bool) int64 {
	switch n := n.(type) {
	case *parse.TextNode:
		return int64(len(n.Value))
	case *parse.ListNode:
		total := int64(0)
		for _, c := range n.Nodes {
			total += s.weigh(c, missing)
		}
		return min(total, endless)
	case *parse.FuncNode:
		return s.weighFunction(n, missing)
	}
	return 0
}

func (s *substituter) weighFunction(n *parse.FuncNode, missing map[string]bool) int64 {
	args, last := int64(0), int64(0)
	for _, a := range n.Args {
		last = s.weigh(a, missing)
		args = min(args+last, endless)
	}
	value, set := s.values[n.Param]
	size := int64(len(value))
	switch n.Name {
	case "-", "+", "=", "?", ":-", ":+", ":=", ":?":
		return max(size, args) // a default is part of their meaning
	}
	if !set {
		missing[n.Param] = true
	}
	switch n.Name {
	case "#", "##", "%", "%%":
		if len(n.Args) > 0 { // each prefix is matched anew
			s.work -= min(size*size*max(args, 1), endless)
		}
	case "//":
		return min(size+(size+1)*last, endless) // a replacement for every byte
	case "/", "/#", "/%":
		return min(size+last, endless)
	}
	return max(size, 20) // digits, for a length
}
