// Package migrate turns settings of Python's dogpile.cache into settings of a region here.
package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// value is a setting as Python has it.
type value struct {
	text string   // of one that is no list; "None", "true" and "false" for what these stand for
	list []string // of a list; a list in it is its parts with ":" between, as of a host and a port
}

// Settings are settings as Python has them, by key.
type Settings map[string]value

// Formats are those that Read knows.
var Formats = []string{"ini", "json", "env"}

// Read returns the settings in data by key. format is one of Formats, or empty: then data tells
// it. here is what %(here)s stands for in an .ini file, and section the section of it that is read;
// empty: the one that has settings of dogpile.cache.
func Read(data []byte, format, here, section string) (Settings, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if format == "" {
		format = guess(data)
	}
	switch format {
	case "json":
		return readJSON(data)
	case "ini":
		return readINI(string(data), here, section)
	}
	return readEnv(string(data))
}

var sectionLine = regexp.MustCompile(`(?m)^\[[^\]]+\]\s*$`)

func guess(data []byte) string {
	switch {
	case bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")):
		return "json"
	case sectionLine.Match(data):
		return "ini"
	}
	return "env"
}

func readJSON(data []byte) (Settings, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var tree map[string]any
	if err := d.Decode(&tree); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line := 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
			return nil, fmt.Errorf("no JSON: syntax error on line %d; json.dumps writes a dict of Python as JSON", line)
		}
		return nil, errors.New("no JSON object: json.dumps writes a dict of Python as one")
	}
	settings := make(Settings)
	flatten("", tree, settings)
	return settings, nil
}

func flatten(prefix string, tree map[string]any, to Settings) {
	for key, v := range tree {
		if table, is := v.(map[string]any); is {
			flatten(prefix+key+".", table, to)
			continue
		}
		if list, is := v.([]any); is {
			all := make([]string, len(list))
			for i, v := range list {
				all[i] = plain(v)
			}
			to[prefix+key] = value{list: all}
			continue
		}
		to[prefix+key] = value{text: plain(v)}
	}
}

// plain returns a value that is no table as text.
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case string:
		return strings.TrimSpace(v)
	case []any: // ("host", 11211)
		var parts []string
		for _, part := range v {
			parts = append(parts, plain(part))
		}
		return strings.Join(parts, ":")
	case map[string]any: // ClusterNode(host, port)
		return plain([]any{v["host"], v["port"]})
	}
	return strings.ToLower(fmt.Sprint(v)) // a number, true or false
}

// readINI reads what configparser does with the interpolation that PasteDeploy has.
func readINI(text, here, want string) (Settings, error) {
	sections, err := parseINI(text)
	if err != nil {
		return nil, err
	}
	defaults := sections["DEFAULT"]
	if want == "" {
		var with []string
		for name, settings := range sections {
			if name != "DEFAULT" && usesDogpile(settings) {
				with = append(with, name)
			}
		}
		slices.Sort(with)
		switch {
		case len(with) > 1:
			return nil, fmt.Errorf("several sections have settings of dogpile.cache: %s; --section says which", strings.Join(with, ", "))
		case len(with) == 1:
			want = with[0]
		default:
			want = "DEFAULT"
		}
	}
	own, is := sections[want]
	if !is {
		return nil, fmt.Errorf("there is no section [%s]", want)
	}
	variables := map[string]string{"here": here}
	settings := make(Settings)
	for _, from := range []map[string]string{defaults, own} {
		for key, v := range from {
			variables[key] = v
		}
	}
	for key, v := range variables {
		v, err := interpolate(v, variables, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		settings[key] = value{text: v}
	}
	return settings, nil
}

func usesDogpile(settings map[string]string) bool {
	for key, v := range settings {
		if (key == "backend" || strings.HasSuffix(key, ".backend")) && strings.HasPrefix(v, "dogpile.") {
			return true
		}
	}
	return false
}

func parseINI(text string) (map[string]map[string]string, error) {
	sections := make(map[string]map[string]string)
	var now map[string]string
	last := ""
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';':
		case (line[0] == ' ' || line[0] == '\t') && last != "":
			now[last] = strings.TrimSpace(now[last] + "\n" + trimmed)
		case trimmed[0] == '[' && trimmed[len(trimmed)-1] == ']':
			name := trimmed[1 : len(trimmed)-1]
			if sections[name] == nil {
				sections[name] = make(map[string]string)
			}
			now, last = sections[name], ""
		default:
			at := strings.IndexAny(trimmed, "=:")
			if at <= 0 || now == nil {
				return nil, fmt.Errorf("line %d is neither a section nor a setting", i+1)
			}
			last = strings.TrimPrefix(strings.TrimSpace(trimmed[:at]), "set ")
			now[last] = strings.TrimSpace(trimmed[at+1:])
		}
	}
	return sections, nil
}

var variable = regexp.MustCompile(`%\(([^)]+)\)s|%%`)

func interpolate(text string, variables map[string]string, depth int) (out string, err error) {
	if depth > 10 {
		return "", errors.New("its %(…)s lead in a circle")
	}
	out = variable.ReplaceAllStringFunc(text, func(found string) string {
		if found == "%%" {
			return "%"
		}
		name := found[2 : len(found)-2]
		of, is := variables[name]
		if !is {
			// Many settings of an .ini file are no business of ours.
			return found
		}
		of, e := interpolate(of, variables, depth+1)
		if e != nil {
			err = e
		}
		return of
	})
	return out, err
}

// readEnv reads lines such as APP_CACHE__USERS__BACKEND=dogpile.cache.redis, where "__" stands for
// a dot, and there is no case.
func readEnv(text string) (Settings, error) {
	settings := make(Settings)
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, v, is := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !is || name == "" {
			return nil, fmt.Errorf("line %d is no NAME=VALUE", i+1)
		}
		v = strings.TrimSpace(v)
		if n := len(v); n >= 2 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
			v = v[1 : n-1]
		}
		settings[strings.ToLower(strings.ReplaceAll(strings.TrimSpace(name), "__", "."))] = value{text: v}
	}
	return settings, nil
}
