package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// members is a table in the order of the file, where one name may come twice.
type members []member

type member struct {
	name  string
	value any
}

type flattener struct {
	values map[string]string
	tables map[string]bool // keys that have others below them
}

// flatten returns the values of a tree with their keys in full. Two keys that
// mean the same are an error, and so are a key and another below it: if one of
// them won, it would depend on the order in which a map is walked.
func flatten(tree any) (map[string]string, error) {
	f := flattener{values: map[string]string{}, tables: map[string]bool{}}
	top, err := membersOf(tree)
	if err != nil {
		return nil, err
	}
	if top == nil && tree != nil {
		return nil, errors.New("the file is not a table of keys and values")
	}
	if err := f.addAll("", top); err != nil {
		return nil, err
	}
	for key := range f.values {
		for i, c := range key {
			if c == '.' {
				f.tables[key[:i]] = true
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		if f.tables[key] {
			return nil, fmt.Errorf("key %q is both a value and a table", key)
		}
	}
	return f.values, nil
}

func (f *flattener) addAll(prefix string, table members) error {
	for _, m := range table {
		if err := f.add(prefix+m.name, m.value); err != nil {
			return err
		}
	}
	return nil
}

func (f *flattener) add(key string, value any) error {
	table, err := membersOf(value)
	if err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	if table != nil {
		f.tables[key] = true
		return f.addAll(key+".", table)
	}
	s, err := text(value)
	if err != nil {
		return fmt.Errorf("key %q %w", key, err)
	}
	if _, twice := f.values[key]; twice {
		return fmt.Errorf("key %q is defined twice", key)
	}
	f.values[key] = s
	return nil
}

// membersOf returns what is in a table, never nil, and nil if v is none. A map
// is put in order, so that of several faults the same one is always reported.
func membersOf(v any) (members, error) {
	out := members{}
	switch v := v.(type) {
	case members:
		return append(out, v...), nil
	case map[string]any:
		for name, value := range v {
			out = append(out, member{name, value})
		}
	case map[any]any:
		for name, value := range v {
			s, err := scalar(name)
			if err != nil {
				return nil, errors.New("has a name below it that is no plain value")
			}
			out = append(out, member{s, value})
		}
	default:
		return nil, nil
	}
	slices.SortFunc(out, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

func text(v any) (string, error) {
	list, ok := v.([]any)
	if !ok {
		return scalar(v)
	}
	parts := make([]string, len(list))
	for i, element := range list {
		s, err := scalar(element)
		if err != nil {
			return "", fmt.Errorf("is a list in which value %d %w", i+1, err)
		}
		if strings.Contains(s, ",") {
			return "", fmt.Errorf("is a list in which value %d has a comma; write the list as one string", i+1)
		}
		parts[i] = s
	}
	return strings.Join(parts, ","), nil
}

func scalar(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "None", nil
	case string:
		return v, nil
	case bool, int, int64, uint64:
		return fmt.Sprint(v), nil
	case float64:
		return float(v)
	case json.Number:
		if !strings.ContainsAny(v.String(), ".eE") {
			return v.String(), nil
		}
		x, err := v.Float64()
		if err != nil {
			return "", errInexact
		}
		return float(x)
	case time.Time:
		// YAML's parser gives a date without a time of day as midnight in UTC.
		if v.Equal(v.Truncate(24*time.Hour)) && v.Location() == time.UTC {
			return v.Format(time.DateOnly), nil
		}
		return v.Format(time.RFC3339Nano), nil
	case fmt.Stringer: // TOML's dates and times of day
		return v.String(), nil
	}
	return "", errors.New("is no plain value")
}

var errInexact = errors.New("is a number that cannot be kept exactly; write it as a string")

// float refuses what is so large that digits of a whole number may have been
// lost on the way to a float64.
func float(x float64) (string, error) {
	if math.Abs(x) > 1<<53 && !math.IsInf(x, 0) {
		return "", errInexact
	}
	return strconv.FormatFloat(x, 'f', -1, 64), nil
}
