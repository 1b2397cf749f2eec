package templatecache

import (
	"errors"
	"fmt"
	html "html/template"
	"io"
	"slices"
	"text/template/parse"
)

// onlyInText is something that html/template takes in the text of HTML and nowhere else:
// it wants all branches to end in the same context. In text all of these do. Each other
// context is ended by one of them, or takes one of them for an error.
var onlyInText = html.Must(html.New("probe").Parse(`{{if 1}}{{else if 1}}"{{else if 1}}'{{else if 1}}-->{{else if 1}}` + "\n" +
	`{{else if 1}}*/{{else if 1}}` + "`" + `{{else if 1}}</title></textarea></script></style>{{end}}`)).Tree.Root.Nodes[0]

// spot is where a call of cached is; the zero value is no such place.
type spot struct {
	template string
	pos      parse.Pos
}

// checkContexts returns what html/template finds wrong with templates that are fragments or
// have some, and the calls of cached that stand elsewhere than in the text of HTML.
func checkContexts(src *source) (faults []error) {
	misplaced := make(map[spot]bool)
	for _, name := range src.names {
		var spots []spot
		for _, part := range src.closure(name, src.templates) {
			for _, c := range src.calls[part] {
				spots = append(spots, spot{part, c.node.Pos})
			}
		}
		if len(spots) == 0 && !src.fragments[name] {
			continue
		}
		if err := escape(src, name, spot{}); err != nil {
			// A template that is only a part of others need not stand alone.
			if src.fragments[name] || len(src.calls[name]) > 0 && !src.included[name] {
				faults = append(faults, fmt.Errorf("template %q: %w", name, err))
			}
			continue
		}
		for _, here := range spots {
			if escape(src, name, here) != nil {
				misplaced[here] = true
			}
		}
	}
	for _, name := range src.names {
		for _, c := range src.calls[name] {
			if misplaced[spot{name, c.node.Pos}] {
				place, _ := src.trees[name].ErrorContext(c.node)
				faults = append(faults, fmt.Errorf("%s: cached can stand in the text of HTML only", place))
			}
		}
	}
	return faults
}

// stop ends the execution of a template, which is escaped by then, before it calls a function
// of the program. An assignment is nothing to be escaped itself.
var stop = html.Must(html.New("probe").Funcs(html.FuncMap{"templatecache_stop": stopped}).Parse(`{{$x := templatecache_stop}}`)).Tree.Root.Nodes[0]

var errStop = errors.New("stop")

func stopped() (string, error) { return "", errStop }

// escape has html/template escape a template, with onlyInText in the place of the call of
// cached that is at probed, and returns what that fails with.
func escape(src *source, name string, probed spot) error {
	// In a set of its own: escaping one template, above all if it fails, has an influence
	// on how others are escaped after it.
	set := html.New(name).Funcs(html.FuncMap{"templatecache_stop": stopped})
	for _, part := range src.closure(name, src.templates) {
		tree := src.trees[part].Copy()
		inspect(tree.Root, func(n parse.Node) {
			list, ok := n.(*parse.ListNode)
			for i := 0; ok && i < len(list.Nodes); i++ {
				if c, is := asCall(list.Nodes[i]); is && probed == (spot{part, c.node.Pos}) {
					list.Nodes[i] = onlyInText.Copy()
				}
			}
		})
		if part == name {
			tree.Root.Nodes = slices.Insert(tree.Root.Nodes, 0, stop.Copy())
		}
		if _, err := set.AddParseTree(part, tree); err != nil {
			return err
		}
	}
	if err := set.ExecuteTemplate(io.Discard, name, nil); !errors.Is(err, errStop) {
		return err
	}
	return nil
}
