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
	`{{else if 1}}*/{{else if 1}}/{{else if 1}}` + "`" + `{{else if 1}}</title></textarea></script></style>{{end}}`)).Tree.Root.Nodes[0]

// spot is where a call of cached is.
type spot struct {
	template string
	pos      parse.Pos
}

// checkContexts returns what html/template finds wrong with templates that are fragments or
// have some, and the calls of cached that stand elsewhere than in the text of HTML.
func checkContexts(original *html.Template, src *source) (faults []error) {
	if len(src.calls) == 0 {
		return nil
	}
	before, err := escape(original, src, func(spot) bool { return false })
	if err != nil {
		return []error{err}
	}
	for _, name := range src.names {
		// A template that is only a part of others need not stand alone.
		if before[name] != nil && (src.fragments[name] || len(src.calls[name]) > 0 && !src.included[name]) {
			faults = append(faults, before[name])
		}
	}
	misplaced := func(probed func(spot) bool) bool {
		after, e := escape(original, src, probed)
		err = errors.Join(err, e)
		for name := range after {
			if before[name] == nil {
				return true
			}
		}
		return false
	}
	if misplaced(func(spot) bool { return true }) { // seldom: look for them one by one
		for _, name := range src.names {
			for _, c := range src.calls[name] {
				here := spot{name, c.node.Pos}
				if misplaced(func(s spot) bool { return s == here }) {
					place, _ := src.trees[name].ErrorContext(c.node)
					faults = append(faults, fmt.Errorf("%s: cached can stand in the text of HTML only", place))
				}
			}
		}
	}
	if err != nil {
		faults = append(faults, err)
	}
	return faults
}

// errStop ends the execution of a template that is escaped by then.
var errStop = errors.New("stop")

// escape has html/template escape each template that has fragments in it, with onlyInText in
// the place of those calls of cached that are probed. It returns the errors of those that
// cannot be escaped. No function of the program is called.
func escape(original *html.Template, src *source, probed func(spot) bool) (map[string]error, error) {
	failed := make(map[string]error)
	for _, name := range src.names {
		if !slices.ContainsFunc(src.includes(name), func(name string) bool { return len(src.calls[name]) > 0 || src.fragments[name] }) {
			continue
		}
		// In a set of its own: escaping one template, above all if it fails, has an
		// influence on how others are escaped after it.
		set, err := original.Clone()
		if err != nil {
			return nil, err
		}
		probe(set, src, probed)
		set.Funcs(html.FuncMap{"templatecache_stop": func() (string, error) { return "", errStop }})
		const stop = "templatecache stop"
		text := fmt.Sprintf("{{templatecache_stop}}{{template %q}}", name)
		if _, err := set.New(stop).Delims("{{", "}}").Parse(text); err != nil {
			return nil, err
		}
		if err := set.ExecuteTemplate(io.Discard, stop, nil); !errors.Is(err, errStop) {
			if e := (*html.Error)(nil); errors.As(err, &e) && e.Name == stop {
				e.Name = name
			}
			failed[name] = fmt.Errorf("template %q: %w", name, err)
		}
	}
	return failed, nil
}

// probe puts onlyInText in the place of the calls of cached that are probed.
func probe(set *html.Template, src *source, probed func(spot) bool) {
	for _, name := range src.names {
		inspect(set.Lookup(name).Tree.Root, func(n parse.Node) {
			list, ok := n.(*parse.ListNode)
			for i := 0; ok && i < len(list.Nodes); i++ {
				if c, is := asCall(list.Nodes[i]); is && probed(spot{name, c.node.Pos}) {
					list.Nodes[i] = onlyInText.Copy() // no node may be in two places
				}
			}
		})
	}
}
