package templatecache

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template/parse"
)

// source is a set of templates as it was parsed.
type source struct {
	trees map[string]*parse.Tree
	names []string          // of trees, in order
	calls map[string][]call // of cached, by the template that they are in

	templates map[string][]string // what a template includes with {{template}}
	uses      map[string][]string // and what with that or with cached
	included  map[string]bool     // with {{template}}, by others
	fragments map[string]bool     // by cached, as far as names are literals
}

// call is an action {{cached …}}.
type call struct {
	node *parse.ActionNode
	args []parse.Node // those of cached
}

// asCall returns n as a call of cached, if it is one and nothing else.
func asCall(n parse.Node) (call, bool) {
	a, ok := n.(*parse.ActionNode)
	if !ok || len(a.Pipe.Decl) > 0 || len(a.Pipe.Cmds) != 1 || !calls(a.Pipe.Cmds[0], "cached") {
		return call{}, false
	}
	return call{a, a.Pipe.Cmds[0].Args[1:]}, true
}

// calls reports whether a command calls a function.
func calls(c *parse.CommandNode, function string) bool {
	id, ok := c.Args[0].(*parse.IdentifierNode)
	return ok && id.Ident == function
}

// literal returns the string that argument i is, if it is written as one.
func (c call) literal(i int) (string, bool) {
	if i < len(c.args) {
		if s, ok := c.args[i].(*parse.StringNode); ok {
			return s.Text, true
		}
	}
	return "", false
}

// read finds out what the templates call and include.
func (s *source) read() {
	s.names = slices.Sorted(maps.Keys(s.trees))
	s.calls, s.templates, s.uses = make(map[string][]call), make(map[string][]string), make(map[string][]string)
	s.included, s.fragments = make(map[string]bool), make(map[string]bool)
	for _, name := range s.names {
		inspect(s.trees[name].Root, func(n parse.Node) {
			if t, ok := n.(*parse.TemplateNode); ok {
				s.templates[name] = append(s.templates[name], t.Name)
				s.uses[name] = append(s.uses[name], t.Name)
				s.included[t.Name] = s.included[t.Name] || t.Name != name
			}
			c, ok := asCall(n)
			if !ok {
				return
			}
			s.calls[name] = append(s.calls[name], c)
			if template, ok := c.literal(2); ok {
				s.uses[name] = append(s.uses[name], template)
				s.fragments[template] = true
			} else {
				s.uses[name] = append(s.uses[name], s.names...) // any of them
			}
		})
	}
}

// closure returns the template called name, if there is one, and all that it includes, in order.
func (s *source) closure(name string, includes map[string][]string) []string {
	found := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if !found[name] && s.trees[name] != nil {
			found[name] = true
			for _, part := range includes[name] {
				add(part)
			}
		}
	}
	add(name)
	return slices.Sorted(maps.Keys(found))
}

// digest returns a sum of the template called name and of all that it includes.
func (s *source) digest(kind, name string) string {
	h := sha256.New()
	fmt.Fprint(h, kind)
	for _, name := range s.closure(name, s.uses) {
		root := s.trees[name].Root.CopyList()
		inspect(root, func(n parse.Node) {
			if t, ok := n.(*parse.TextNode); ok {
				t.Text = fmt.Appendf(nil, "%x", t.Text) // with other delimiters "{{.}}" may be text
			}
		})
		fmt.Fprintf(h, "%q%q", name, root.String())
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// check returns what is wrong with calls of cached, as far as the templates tell.
func (s *source) check(regions map[string]bool) (faults []error) {
	for _, name := range s.names {
		fault := func(n parse.Node, err error) {
			place, _ := s.trees[name].ErrorContext(n)
			faults = append(faults, fmt.Errorf("%s: %w", place, err))
		}
		alone := make(map[parse.Node]bool) // the word cached in actions of its own
		for _, c := range s.calls[name] {
			alone[c.node.Pipe.Cmds[0].Args[0]] = true
			if len(c.args) < 4 {
				fault(c.node, errors.New("cached takes a context, a region, a template and data"))
			}
			if region, ok := c.literal(1); ok && !regions[region] {
				fault(c.node, fmt.Errorf("region %q: %w", region, unknown(regions)))
			}
			if template, ok := c.literal(2); ok && s.trees[template] == nil {
				fault(c.node, fmt.Errorf("template %q: no such template", template))
			}
		}
		inspect(s.trees[name].Root, func(n parse.Node) {
			if id, ok := n.(*parse.IdentifierNode); ok && id.Ident == "cached" && !alone[n] {
				fault(n, errors.New("cached has to be an action of its own"))
			}
			if c, ok := n.(*parse.CommandNode); ok && calls(c, "cacheTimeout") && len(c.Args) == 2 {
				if timeout, ok := c.Args[1].(*parse.StringNode); ok {
					if _, err := cacheTimeout(timeout.Text); err != nil {
						fault(c, errors.New(strings.TrimPrefix(err.Error(), "templatecache: ")))
					}
				}
			}
		})
	}
	return faults
}

// inspect calls visit with n and all nodes in it, in the order of the text. visit may
// change what n consists of.
func inspect(n parse.Node, visit func(parse.Node)) {
	visit(n)
	switch n := n.(type) {
	case *parse.ListNode:
		for _, each := range n.Nodes {
			inspect(each, visit)
		}
	case *parse.ActionNode:
		inspect(n.Pipe, visit)
	case *parse.PipeNode:
		for _, each := range n.Cmds {
			inspect(each, visit)
		}
	case *parse.CommandNode:
		for _, each := range n.Args {
			inspect(each, visit)
		}
	case *parse.ChainNode:
		inspect(n.Node, visit)
	case *parse.TemplateNode:
		if n.Pipe != nil {
			inspect(n.Pipe, visit)
		}
	case *parse.IfNode:
		inspectBranches(&n.BranchNode, visit)
	case *parse.WithNode:
		inspectBranches(&n.BranchNode, visit)
	case *parse.RangeNode:
		inspectBranches(&n.BranchNode, visit)
	}
}

func inspectBranches(n *parse.BranchNode, visit func(parse.Node)) {
	inspect(n.Pipe, visit)
	inspect(n.List, visit)
	if n.ElseList != nil {
		inspect(n.ElseList, visit)
	}
}
