// Package rendering executes text templates that somebody else wrote.
//
// A template is a program. It runs inside a time, a size and a step limit: a
// clock call stands at the head of every branch and loop of its parse tree,
// and every function it calls is watched for what goes in and comes out.
// Functions that read the environment, the network or the clock, or that make
// keys, are not there.
package rendering

import (
	"errors"
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
)

const (
	maxTemplate = 64 << 10        // bytes of a template
	maxOutput   = 64 << 10        // bytes of what it yields
	maxTime     = 1 * time.Second // for rendering, parsing not included
	maxSteps    = 50_000          // branches taken, loops turned, functions called
)

var (
	// ErrTemplate is wrapped by all errors, since an edit of the template cures
	// each of them.
	ErrTemplate = errors.New("the template")
	// ErrLimit is wrapped when a template takes too long or yields too much.
	ErrLimit = errors.New("it was stopped")
)

// Execute returns what the template text makes of data: valid UTF-8 without
// zero bytes, 64 KiB at most. The name stands in error messages. Errors wrap
// ErrTemplate, ErrLimit where that applies, and what methods of data returned.
func Execute(name, text string, data any) (string, error) {
	if len(text) > maxTemplate {
		return "", fmt.Errorf("%w: %w: it has %d bytes, more than %d", ErrTemplate, ErrLimit, len(text), maxTemplate)
	}
	meter := &meter{deadline: time.Now().Add(maxTime)}
	tmpl, err := template.New(name).Funcs(meter.functions()).Parse(text)
	if err != nil {
		return "", fmt.Errorf("%w cannot be parsed: %w", ErrTemplate, err)
	}
	if err := instrument(tmpl); err != nil {
		return "", err
	}
	meter.deadline = time.Now().Add(maxTime)
	var out limited
	if err := tmpl.Execute(&out, data); err != nil {
		if limit, ok := errors.AsType[*limitError](err); ok {
			return "", fmt.Errorf("%w: %w", ErrTemplate, limit)
		}
		return "", fmt.Errorf("%w cannot be executed: %w", ErrTemplate, err)
	}
	return strings.ToValidUTF8(strings.ReplaceAll(out.String(), "\x00", ""), "\uFFFD"), nil
}

// limitError is ErrLimit with the limit that was met. It is found again under
// what text/template wraps around it, which repeats the template.
type limitError struct{ text string }

func (e *limitError) Error() string { return ErrLimit.Error() + ": " + e.text }

func (e *limitError) Unwrap() error { return ErrLimit }

func stop(format string, args ...any) error { return &limitError{text: fmt.Sprintf(format, args...)} }

// limited is a buffer that refuses to grow beyond maxOutput.
type limited struct{ strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxOutput {
		return 0, stop("the text has more than %d bytes", maxOutput)
	}
	return l.Builder.Write(p)
}

// instrument puts a call of the clock at the head of every list of nodes, so
// that no loop and no recursion escapes it.
func instrument(tmpl *template.Template) error {
	for _, t := range tmpl.Templates() {
		if t.Tree == nil || t.Root == nil {
			continue
		}
		if err := instrumentList(t.Root); err != nil {
			return err
		}
	}
	return nil
}

func instrumentList(list *parse.ListNode) error {
	if list == nil {
		return nil
	}
	for _, n := range list.Nodes {
		var branch *parse.BranchNode
		switch n := n.(type) {
		case *parse.IfNode:
			branch = &n.BranchNode
		case *parse.RangeNode:
			branch = &n.BranchNode
		case *parse.WithNode:
			branch = &n.BranchNode
		default:
			continue
		}
		for _, inner := range []*parse.ListNode{branch.List, branch.ElseList} {
			if err := instrumentList(inner); err != nil {
				return err
			}
		}
	}
	tree, err := parse.Parse("clock", "{{"+clock+"}}", "", "", map[string]any{clock: func() string { return "" }})
	if err != nil {
		return err
	}
	list.Nodes = append(tree["clock"].Root.Nodes, list.Nodes...)
	return nil
}
