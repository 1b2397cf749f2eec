package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/config"
)

func newCheck() *cobra.Command {
	var prefix, env string
	cmd := &cobra.Command{
		Use:   "check CONFIG",
		Short: "Say what is wrong or odd in the settings of a program",
		Long: `check reads a settings file (.toml, .yaml or .json), and says what a program would
be told that configures its regions from it, each fault and each warning on a line
of its own:

  fault: cache.users.jitter: 2 is not from 0 to less than 1
  warning: cache.users.expiration: each call creates, …

A fault keeps a program from configuring its regions. A warning is of what is
legal but seldom meant. The regions are those that have settings.

It connects to no server. A cache file is opened, and made if it is not there.
Codecs, manglers, invalidators, proxies and backends of the program's own are not
known here, and are reported.

It exits with 0 if there is no fault, whether or not there are warnings, with 1 if
there is one or the file cannot be read, and with 2 if the command line is wrong.`,
		Example: `  dogpile check app.toml
  dogpile check app.yaml --prefix app.cache.
  dogpile check app.json --env DOGPILE_`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return check(cmd, args[0], prefix, env)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&prefix, "prefix", "cache.", "what the keys of the settings begin with, before the name of a region")
	flags.StringVar(&env, "env", "", "what the names of environment variables begin with that override the file; empty: none do")
	return cmd
}

func check(cmd *cobra.Command, path, prefix, env string) error {
	settings, err := config.Load(path)
	if err != nil {
		return failure{err}
	}
	if env != "" {
		for key, value := range config.FromEnv(env) {
			settings[key] = value
		}
	}
	s := dogpile.Setup{Settings: settings, Prefix: prefix}
	out := cmd.OutOrStdout()
	faults := 0
	if err := s.Check(cmd.Context()); err != nil {
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		faults = list(out, "fault", strings.Split(strings.TrimPrefix(err.Error(), "dogpile: settings: "), "\n"))
	}
	warnings := list(out, "warning", s.Warnings())
	switch {
	case faults > 0:
		return failure{fmt.Errorf("%s: %d of its settings are at fault", path, faults)}
	case !hasAny(settings, prefix):
		return failure{fmt.Errorf("%s: no setting begins with %q; --prefix says with what they do", path, prefix)}
	case warnings == 0:
		fmt.Fprintf(out, "%s: nothing is wrong\n", path)
	}
	return nil
}

// list writes lines and returns how many there are.
func list(w io.Writer, kind string, lines []string) int {
	for _, line := range lines {
		fmt.Fprintf(w, "%s: %s\n", kind, line)
	}
	return len(lines)
}

func hasAny(settings map[string]string, prefix string) bool {
	for key := range settings {
		if len(key) >= len(prefix) && strings.EqualFold(key[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}
