package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/migrate"
)

// migrator is the command line of dogpile migrate.
type migrator struct{ from, prefix, section, region string }

func newMigrate() *cobra.Command {
	var m migrator
	cmd := &cobra.Command{
		Use:   "migrate FILE",
		Short: "Turn settings of Python's dogpile.cache into settings of this one",
		Long: `migrate reads the settings that a Python program gives to configure_from_config, and
writes them as TOML, for "dogpile check" and config.Load. FILE is one of

  ini    the .ini file of a Pyramid or Pylons application, with %(here)s and the like
  json   a dict of Python, written by json.dumps; nested dicts are as keys with dots
  env    lines such as APP_CACHE__USERS__BACKEND=dogpile.cache.redis

or "-" for standard input. What is written keeps to the same servers, keys and locks, so
that both programs can use the cache at the same time if Python serialises as JSON.

What cannot be carried over stands in comments, with its key and why, and on standard
error. Passwords are not written: a comment says where to put them. Other settings of the
file are left alone.

It exits with 0 if there are settings to write, and with 1 if the file cannot be read or has
none.`,
		Example: `  dogpile migrate production.ini > cache.toml && dogpile check cache.toml
  python3 -c 'import json, app; print(json.dumps(app.config))' | dogpile migrate -`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("one FILE is wanted, and there are %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return m.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&m.from, "from", "", "what the file is: ini, json or env; empty: its content tells")
	flags.StringVar(&m.prefix, "prefix", "cache.", "what Python's keys begin with, before the name of a region")
	flags.StringVar(&m.section, "section", "", "section of an .ini file; empty: the one with settings of dogpile.cache")
	flags.StringVar(&m.region, "region", "default", "name for a region whose keys have none, as cache.backend")
	cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions(migrate.Formats, cobra.ShellCompDirectiveNoFileComp))
	for _, name := range []string{"prefix", "section", "region"} {
		cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return cmd
}

func (m *migrator) run(cmd *cobra.Command, path string) error {
	if m.from != "" && !slices.Contains(migrate.Formats, m.from) {
		return fmt.Errorf("--from is %s, not one of %s", printable(m.from), strings.Join(migrate.Formats, ", "))
	}
	if err := migrate.CheckName(m.region); err != nil {
		return fmt.Errorf("--region: %q %w", m.region, err)
	}
	result, err := m.convert(cmd.InOrStdin(), path)
	if err != nil {
		return failure{err}
	}
	for _, lost := range result.Lost {
		fmt.Fprintf(cmd.ErrOrStderr(), "dogpile: %s\n", safe(lost))
	}
	if _, err := io.WriteString(cmd.OutOrStdout(), result.TOML); err != nil {
		return failure{err}
	}
	return nil
}

// most that a file of settings has, in bytes
const mostSettings = 16 << 20

func (m *migrator) convert(stdin io.Reader, path string) (*migrate.Result, error) {
	in, here := stdin, "."
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in, here = file, filepath.Dir(path)
	}
	here, err := filepath.Abs(here)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(in, mostSettings+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > mostSettings:
		return nil, fmt.Errorf("%s has more than %d bytes", path, mostSettings)
	}
	settings, err := migrate.Read(data, m.from, here, m.section)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	result, err := migrate.Convert(settings, m.prefix, m.region)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return result, nil
}
