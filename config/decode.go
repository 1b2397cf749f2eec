package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

// decodeJSON keeps numbers as they are written, and names that come twice.
// Decoding into a map would turn the former into float64 and drop the latter.
func decodeJSON(b []byte) (any, error) {
	// A Decoder would take the first value and not look at what follows it, and not
	// all of its errors say where they are.
	var whole json.RawMessage
	if err := json.Unmarshal(b, &whole); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			before := b[:max(0, syntax.Offset-1)]
			return nil, syntaxError(1 + bytes.Count(before, []byte("\n")))
		}
		return nil, errors.New("not valid JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	return jsonValue(dec)
}

func jsonValue(dec *json.Decoder) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		table := members{}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return nil, err
			}
			value, err := jsonValue(dec)
			if err != nil {
				return nil, err
			}
			table = append(table, member{name.(string), value})
		}
		_, err = dec.Token()
		return table, err
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			value, err := jsonValue(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = dec.Token()
		return list, err
	}
	return token, nil
}

func decodeTOML(b []byte) (any, error) {
	var tree map[string]any
	if err := toml.Unmarshal(b, &tree); err != nil {
		return nil, tomlError(err)
	}
	return tree, nil
}

// decodeYAML refuses a second document: yaml.Unmarshal would drop it.
func decodeYAML(b []byte) (any, error) {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var tree, second any
	if err := dec.Decode(&tree); err == io.EOF {
		return nil, nil
	} else if err != nil {
		return nil, yamlError(err)
	}
	if err := dec.Decode(&second); err == nil {
		return nil, errors.New("has more than one YAML document")
	} else if err != io.EOF {
		return nil, yamlError(err)
	}
	return tree, nil
}

// The parsers' messages quote what they stumble over. What is passed on of them
// is the line and, where a key comes twice, its name.
var (
	yamlTwice = regexp.MustCompile(`(?s)line (\d+): mapping key (.*?) already defined at line (\d+)`)
	yamlLine  = regexp.MustCompile(`^yaml: (?:unmarshal errors:\n  )?line (\d+):`)
	tomlTaken = regexp.MustCompile(`(?s)^toml: (?:key|table) (.*) (is already defined|already exists.*|should be a table.*)$`)
)

func yamlError(err error) error {
	if m := yamlTwice.FindStringSubmatch(err.Error()); m != nil {
		name, err := strconv.Unquote(m[2])
		if err != nil {
			name = m[2] // a number, which is not quoted
		}
		return fmt.Errorf("key %q is defined twice, on lines %s and %s", name, m[3], m[1])
	}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		// The fault is on that line or on the next.
		return fmt.Errorf("syntax error near line %s", m[1])
	}
	return errors.New("not valid YAML")
}

func tomlError(err error) error {
	var at *toml.DecodeError
	if !errors.As(err, &at) {
		return errors.New("not valid TOML")
	}
	line, _ := at.Position()
	m := tomlTaken.FindStringSubmatch(err.Error())
	if m == nil {
		return syntaxError(line)
	}
	// Of "a = 1" and then "a.b = 2" the parser says that a is defined already, while
	// it reads the key a.b.
	name, key := m[1], at.Key()
	i := slices.Index(key, name)
	if 0 <= i && i < len(key)-1 || strings.Contains(m[2], "a value") {
		return fmt.Errorf("key %q is both a value and a table on line %d", name, line)
	}
	return fmt.Errorf("key %q is defined twice, the second time on line %d", name, line)
}

func syntaxError(line int) error { return fmt.Errorf("syntax error on line %d", line) }
