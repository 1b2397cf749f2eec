package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newGet() *cobra.Command {
	var t target
	var any, asJSON bool
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Write the value of a key",
		Long: `get writes the bytes of a value as they are stored. On a terminal JSON is indented,
and what is not printable is escaped.

Values that readers are given are written, fresh or stale. With --any those are as well that
are invalidated, or have expired too long ago. It creates nothing and changes nothing.

With --json it writes one object, with the fields

  key          the key; key_base64 in its place where that is not UTF-8
  found        whether there is a value that is written
  state        fresh, stale, expired (readers are given it no more), invalidated,
               unreadable, or unknown: with --backend nobody says when entries expire. It
               is left out where there is no entry
  value        the value, as a string; value_base64 where that is not UTF-8
  not_found    true for the answer that there is no value (CacheOptions.NotFound), for
               which found is false

It exits with 0 if there is a value, and with 3 if there is none.`,
		Example: `  dogpile get --config app.toml --region users 42
  dogpile get --backend redis://10.0.0.3:6379/1 --region users 42
  dogpile get --backend file:///var/cache/app.db users:42`,
		Args: oneKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.at(cmd, func(ctx context.Context, o *opened) error {
				return get(ctx, o, cmd.OutOrStdout(), args[0], any, asJSON)
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	t.add(cmd)
	cmd.Flags().BoolVar(&any, "any", false, "write values too that readers are not given: invalidated or expired")
	addJSON(cmd, &asJSON)
	return cmd
}

func addJSON(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "json", false, "write JSON, for programs")
}

// oneKey is for commands whose argument is a key.
func oneKey(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("one KEY is wanted, and there are %d", len(args))
	}
	return nil
}

// someKeys is for commands whose arguments are keys.
func someKeys(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("a KEY is wanted")
	}
	return nil
}

type gotten struct {
	keyFields
	Found       bool    `json:"found"`
	State       string  `json:"state,omitempty"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
	NotFound    bool    `json:"not_found,omitempty"`
}

func get(ctx context.Context, o *opened, w io.Writer, key string, any, asJSON bool) error {
	e, err := o.read(ctx, key, false)
	if err != nil {
		return err
	}
	found := e != nil && !e.meta.NotFound && (e.usable() || any && e.why == nil)
	if asJSON {
		g := gotten{keyFields: keyOf(key), Found: found}
		if e != nil {
			g.State, g.NotFound = e.state, e.meta.NotFound
		}
		if found {
			value := textOf(e.payload)
			g.Value, g.ValueBase64 = value.String, value.Base64
		}
		if err := writeJSON(w, g); err != nil || found {
			return err
		}
		return status{}
	}
	if !found {
		return status{absent(key, e)}
	}
	if columnsOf(w) > 0 {
		_, err = io.WriteString(w, pretty(e.payload)+"\n")
	} else {
		_, err = w.Write(e.payload)
	}
	return err
}

// absent says why there is no value.
func absent(key string, e *entry) error {
	switch {
	case e == nil:
		return fmt.Errorf("%s is not there", printable(key))
	case e.meta.NotFound && e.state == stateStale:
		return fmt.Errorf("%s: that there is no value is not believed any more", printable(key))
	case e.meta.NotFound && e.state == stateInvalidated:
		return fmt.Errorf("%s: that there is no value is invalidated", printable(key))
	case e.meta.NotFound:
		return fmt.Errorf("%s: the answer is that there is no value", printable(key))
	case e.state == stateInvalidated:
		return fmt.Errorf("%s is invalidated; --any writes it", printable(key))
	case e.state == stateExpired:
		return fmt.Errorf("%s has expired, and readers are given it no more; --any writes it", printable(key))
	}
	return fmt.Errorf("%s is no entry that a region could read: %s", printable(key), problem(e.why))
}

// pretty returns a value as it is shown on a terminal.
func pretty(value []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, value, "", "  ") == nil {
		value = b.Bytes()
	}
	return escaped(string(value))
}
