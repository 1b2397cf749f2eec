package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/config"
)

// checker is the command line of dogpile check.
type checker struct {
	path, prefix, env string
	connect, json     bool
	timeout           time.Duration
}

func newCheck() *cobra.Command {
	var c checker
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

It connects to no server, unless --connect is given: then each backend is asked whether
it is there, once there is no fault, and one that is not is told of:

  unreachable: cache.users.backend: connect to 10.0.0.3:6379: …

A cache file is opened, and made if it is not there. Codecs, manglers, invalidators,
proxies and backends of the program's own are not known here, and are reported.

With --json it writes one object, with the fields file, faults, warnings and
unreachable; the last three are lists of the lines, without their first word.

It exits with 0 if there is no fault, whether or not there are warnings, with 1 if
there is one, a backend is unreachable or the file cannot be read, and with 2 if the
command line is wrong.`,
		Example: `  dogpile check app.toml
  dogpile check app.toml --connect
  dogpile check app.yaml --settings-prefix app.cache.
  dogpile check app.json --env DOGPILE_`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.timeout <= 0 || c.timeout > longest {
				return fmt.Errorf("--timeout is %v, not greater than 0 and up to %v", c.timeout, longest)
			}
			c.path = args[0]
			return c.run(cmd)
		},
		ValidArgsFunction: completeSettings,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&c.prefix, "settings-prefix", "cache.", "what the keys of the settings begin with, before the name of a region")
	flags.StringVar(&c.env, "env", "", "what the names of environment variables begin with that override the file; empty: none do")
	flags.BoolVar(&c.connect, "connect", false, "ask each backend whether it is there")
	flags.DurationVar(&c.timeout, "timeout", 5*time.Second, "with --connect: how long all of them may take")
	addJSON(cmd, &c.json)
	return cmd
}

func completeSettings(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"toml", "yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
}

// checked is what was found.
type checked struct {
	File        string   `json:"file"`
	Faults      []string `json:"faults"`
	Warnings    []string `json:"warnings"`
	Unreachable []string `json:"unreachable"`
}

func (c *checker) run(cmd *cobra.Command) error {
	settings, err := config.Load(c.path)
	if err != nil {
		return failure{err}
	}
	override(settings, c.env)
	s := dogpile.Setup{Settings: settings, Prefix: c.prefix}
	found := checked{File: c.path, Faults: []string{}, Warnings: []string{}, Unreachable: []string{}}
	if err := s.Check(cmd.Context()); err != nil {
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		found.Faults = linesOf(strings.Split(strings.TrimPrefix(err.Error(), "dogpile: settings: "), "\n"))
	}
	found.Warnings = append(found.Warnings, linesOf(s.Warnings())...)
	if c.connect && len(found.Faults) == 0 {
		if err := c.reach(cmd.Context(), s, &found); err != nil {
			return err
		}
	}
	none := !hasAny(settings, c.prefix)
	if err := c.write(cmd.OutOrStdout(), &found, none); err != nil {
		return failure{err}
	}
	switch {
	case len(found.Faults) > 0:
		return failure{fmt.Errorf("%s: %d of its settings are at fault", c.path, len(found.Faults))}
	case none:
		return failure{fmt.Errorf("%s: no setting begins with %q; --settings-prefix says with what they do", c.path, c.prefix)}
	case len(found.Unreachable) > 0:
		return failure{fmt.Errorf("%s: %d of its regions cannot reach their backend", c.path, len(found.Unreachable))}
	}
	return nil
}

func (c *checker) write(w io.Writer, found *checked, none bool) error {
	if c.json {
		return writeJSON(w, found)
	}
	list(w, "fault", found.Faults)
	list(w, "unreachable", found.Unreachable)
	list(w, "warning", found.Warnings)
	if none || len(found.Faults)+len(found.Unreachable)+len(found.Warnings) > 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "%s: nothing is wrong\n", c.path)
	return err
}

// reach asks the backend of each region whether it is there. The regions are asked at the same
// time, so that one backend that hangs does not take the time of the others.
func (c *checker) reach(ctx context.Context, s dogpile.Setup, found *checked) error {
	s.Options = &dogpile.Options{Logger: slog.New(slog.DiscardHandler)}
	var regions []*dogpile.Region
	names, all := regionsIn(s.Settings, s.Prefix), make(map[string]string)
	for _, name := range names {
		regions = append(regions, dogpile.NewRegion(name))
		maps.Copy(all, settingsOf(s.Settings, s.Prefix, names, name))
	}
	s.Settings = all
	if err := s.Configure(ctx, regions...); err != nil {
		return failure{err}
	}
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	errs := make([]error, len(regions))
	var asking sync.WaitGroup
	for i, r := range regions {
		asking.Go(func() {
			errs[i] = r.Ping(limited)
			closing, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			r.Close(closing)
		})
	}
	asking.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i, err := range errs {
		var op *dogpile.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		if err != nil {
			found.Unreachable = append(found.Unreachable, line(fmt.Errorf("%s%s.backend: %w", c.prefix, regions[i].Name(), err)))
		}
	}
	return nil
}

// linesOf returns texts as they can be shown.
func linesOf(texts []string) (lines []string) {
	for _, text := range texts {
		lines = append(lines, line(errors.New(text)))
	}
	return lines
}

// list writes lines.
func list(w io.Writer, kind string, lines []string) {
	for _, line := range lines {
		fmt.Fprintf(w, "%s: %s\n", kind, line)
	}
}

func hasAny(settings map[string]string, prefix string) bool {
	for key := range settings {
		if len(key) >= len(prefix) && strings.EqualFold(key[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}
