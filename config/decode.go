package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strconv"

	"github.com/knadh/koanf/parsers/toml/v2"
	"go.yaml.in/yaml/v3"
)

// decodeJSON keeps numbers as they are written and names that come twice;
// koanf's own parser turns the former into float64 and drops the latter.
func decodeJSON(b []byte) (any, error) {
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
	tree, err := toml.Parser().Unmarshal(b)
	if err != nil {
		return nil, tomlError(b, err)
	}
	return tree, nil
}

// decodeYAML does what koanf's own parser does, and refuses a second document,
// which that one drops.
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
	tomlTwice = regexp.MustCompile(`^toml: (?:key|table|array table) (.*) (?:is already defined|already exists)`)
	tomlMixed = regexp.MustCompile(`^toml: expected (.*) to be a table, not a value`)
)

func yamlError(err error) error {
	if m := yamlTwice.FindStringSubmatch(err.Error()); m != nil {
		name, err := strconv.Unquote(m[2])
		if err != nil {
			name = m[2] // a number
		}
		return fmt.Errorf("key %q is defined twice, on lines %s and %s", name, m[3], m[1])
	}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("syntax error near line %s", m[1]) // that line or the next
	}
	return errors.New("not valid YAML")
}

func tomlError(b []byte, err error) error {
	var at interface{ Position() (line, column int) }
	if errors.As(err, &at) {
		line, _ := at.Position()
		return syntaxError(line)
	}
	if m := tomlTwice.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("key %q is defined twice, the second time on line %d", m[1], tomlLine(b, err))
	}
	if m := tomlMixed.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("key %q is both a value and a table on line %d", m[1], tomlLine(b, err))
	}
	return errors.New("not valid TOML")
}

// tomlLine returns the line of an error that does not tell: the first with
// which the file has it.
func tomlLine(b []byte, want error) int {
	lines := slices.Collect(bytes.Lines(b))
	return 1 + sort.Search(len(lines)-1, func(i int) bool {
		_, err := toml.Parser().Unmarshal(bytes.Join(lines[:i+1], nil))
		return err != nil && err.Error() == want.Error()
	})
}

func syntaxError(line int) error { return fmt.Errorf("syntax error on line %d", line) }
