package main

import (
	"context"

	"github.com/spf13/cobra"
)

func newRm() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rm KEY...",
		Short: "Delete the entries of keys",
		Long: `rm deletes the entries of keys, as Region.Delete does: no read that begins when it has
ended is given a value whose creation had begun before. Who creates one of them at the
moment does not store it.

With --json it writes one object a line for each key, with the fields

  key      the key; key_base64 in its place where that is not UTF-8
  found    whether there was anything under it

It exits with 0 if all of them are deleted, whether or not they were there.`,
		Example: `  dogpile rm --config app.toml --region users 42 43`,
		Args:    someKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.at(cmd, func(ctx context.Context, o *opened) error { return rm(ctx, o, cmd, args, asJSON) })
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	t.add(cmd)
	addJSON(cmd, &asJSON)
	return cmd
}

func rm(ctx context.Context, o *opened, cmd *cobra.Command, keys []string, asJSON bool) error {
	before, err := o.readAll(ctx, keys...)
	if err != nil {
		return err
	}
	if err := o.Delete(ctx, keys...); err != nil {
		return err
	}
	var rows table
	for i, key := range keys {
		there := before[i].Found() || before[i].Err != nil // what is no entry is deleted as well
		if asJSON {
			err := writeJSON(cmd.OutOrStdout(), struct {
				keyFields
				Found bool `json:"found"`
			}{keyOf(key), there})
			if err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{map[bool]string{true: "deleted", false: "was not there"}[there], printable(key)})
	}
	return rows.write(cmd.OutOrStdout())
}
