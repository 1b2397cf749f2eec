package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dogpile-go/dogpile"
)

func newInvalidate() *cobra.Command {
	var t target
	var soft, asJSON bool
	var tags []string
	var scope string
	cmd := &cobra.Command{
		Use:   "invalidate",
		Short: "Invalidate all entries of a region, or those with a tag",
		Long: `invalidate makes every entry of the region invalid, in all processes: as
Region.Invalidate does, or with --tag as Region.InvalidateTags does for the entries that
carry one of the tags, in every region with the same tag scope over the backend.

Readers wait for new values. With --soft they are given the old ones until there are
new ones.

With --json it writes one object, with the fields

  region   the name of the region; empty with --backend if --region does not say it
  mode     hard or soft
  tags     the tags; left out if it was the whole region

It exits with 0 if it was done.`,
		Example: `  dogpile invalidate --config app.toml --region users
  dogpile invalidate --config app.toml --region users --soft --tag product:42 --tag shop`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if scope != "" && t.backend == "" {
				return errors.New("--tag-scope goes with --backend; with --config the settings say it")
			}
			t.tagScope = scope
			for _, tag := range tags {
				if tag == "" {
					return errors.New("--tag is empty")
				}
			}
			return t.at(cmd, func(ctx context.Context, o *opened) error { return invalidate(ctx, o, cmd, soft, tags, asJSON) })
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	t.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&soft, "soft", false, "let readers have the old values until there are new ones")
	flags.StringArrayVar(&tags, "tag", nil, "a tag, in place of the whole region; may be given several times")
	flags.StringVar(&scope, "tag-scope", "", "with --backend: the tag_scope of the regions")
	for _, name := range []string{"tag", "tag-scope"} {
		cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	addJSON(cmd, &asJSON)
	return cmd
}

// noArgs is for commands without arguments. It does not show the first, which may be a URL
// with a password.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments, and there are %d", cmd.Name(), len(args))
	}
	return nil
}

func invalidate(ctx context.Context, o *opened, cmd *cobra.Command, soft bool, tags []string, asJSON bool) error {
	_, local := o.Options().Invalidator.(*dogpile.LocalInvalidator)
	switch {
	case len(tags) > 0:
	case !o.named:
		return wrong{errors.New("--region says which region of the backend is invalidated; with another prefix than its name and a colon, --prefix says that too")}
	case local:
		return wrong{fmt.Errorf("--region: the processes of %q keep its invalidations to themselves (invalidator = local), and are not reached", o.Name())}
	}
	mode := dogpile.Hard
	if soft {
		mode = dogpile.Soft
	}
	what := "region " + printable(o.Name())
	var err error
	if len(tags) == 0 {
		err = o.Invalidate(ctx, mode)
	} else {
		what = "tags " + quoted(tags)
		err = o.InvalidateTags(ctx, mode, tags...)
	}
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), struct {
			Region string   `json:"region"`
			Mode   string   `json:"mode"`
			Tags   []string `json:"tags,omitempty"`
		}{o.Name(), mode.String(), tags})
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "invalidated %s (%s)\n", what, mode)
	return err
}
