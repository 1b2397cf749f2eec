package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/config"
	"github.com/dogpile-go/dogpile/driver"
)

// target is the region that a command is about: one of a settings file, or one over a
// backend that a URL names.
type target struct {
	config, region, under, env string
	backend, prefix, tagScope  string
	timeout                    time.Duration
}

// add gives cmd the flags of a target. A timeout that is set is the default of the flag.
func (t *target) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&t.config, "config", "", "settings file of the program (.toml, .yaml or .json)")
	flags.StringVar(&t.region, "region", "", "name of the region; with --config it is needed if there are several")
	flags.StringVar(&t.under, "settings-prefix", "cache.", "what the keys of the settings begin with, before the name of a region")
	flags.StringVar(&t.env, "env", "", "what the names of environment variables begin with that override the settings; empty: none do")
	flags.StringVar(&t.backend, "backend", "", "URL of a backend, in place of --config")
	flags.StringVar(&t.prefix, "prefix", "", `with --backend: what precedes the keys; "none": nothing; not given: the name of the region and a colon`)
	flags.DurationVar(&t.timeout, "timeout", cmp.Or(t.timeout, 5*time.Second), "how long the backend may take")
	cmd.RegisterFlagCompletionFunc("region", t.completeRegions)
	cmd.RegisterFlagCompletionFunc("backend", completeSchemes)
	for _, name := range []string{"prefix", "env", "settings-prefix", "timeout"} {
		cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
}

func completeSchemes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var urls []string
	for _, scheme := range driver.Schemes() {
		urls = append(urls, scheme+"://")
	}
	return urls, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

func (t *target) completeRegions(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	settings, err := t.settings()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return regionsIn(settings, t.under), cobra.ShellCompDirectiveNoFileComp
}

// check returns what is wrong with the flags.
func (t *target) check(cmd *cobra.Command) error {
	changed := cmd.Flags().Changed
	switch {
	case t.config == "" && t.backend == "":
		return errors.New("--config FILE or --backend URL says where the cache is")
	case t.config != "" && t.backend != "":
		return errors.New("--config and --backend are given; one of them is enough")
	case t.timeout <= 0 || t.timeout > longest:
		return fmt.Errorf("--timeout is %v, not greater than 0 and up to %v", t.timeout, longest)
	case t.config != "" && changed("prefix"):
		return errors.New("--prefix goes with --backend; with --config the settings say it, and --settings-prefix says with what these begin")
	case changed("prefix") && t.prefix == "":
		return errors.New(`--prefix is empty; "none" is for keys without one`)
	}
	for _, name := range []string{"settings-prefix", "env"} {
		if t.backend != "" && changed(name) {
			return fmt.Errorf("--%s goes with --config", name)
		}
	}
	return nil
}

// opened is a target that was opened.
type opened struct {
	*dogpile.Region
	caps driver.Caps
	// named: the flags say of which region it is. If not, nobody knows what was invalidated.
	named bool
	// complete: its options are the program's.
	complete bool
	backend  driver.Backend // to be closed; nil: the region does that
}

// open opens the target. Faults of the command line and of settings are as they are, others
// are a failure.
func (t *target) open(ctx context.Context, cmd *cobra.Command) (*opened, error) {
	if err := t.check(cmd); err != nil {
		return nil, err
	}
	o := &opened{}
	base := &dogpile.Options{Logger: slog.New(slog.DiscardHandler)}
	var err error
	if t.config != "" {
		err = t.fromConfig(ctx, o, base)
	} else {
		err = t.fromURL(ctx, o, base)
	}
	if err != nil {
		return nil, err
	}
	o.caps = driver.CapsOf(o.Backend())
	return o, nil
}

func (t *target) fromURL(ctx context.Context, o *opened, options *dogpile.Options) error {
	b, err := driver.Open(ctx, t.backend)
	if err != nil {
		return fmt.Errorf("--backend: %s", strings.TrimPrefix(err.Error(), "dogpile: "))
	}
	o.backend, o.named = b, t.region != ""
	options.TagScope = t.tagScope
	switch {
	case t.prefix == "none" || t.prefix == "" && !o.named:
		options.Prefix = dogpile.NoPrefix
	default:
		options.Prefix = t.prefix
	}
	if !o.named {
		// A token of nobody's says nothing of entries whose region is not known.
		options.Invalidator = new(dogpile.LocalInvalidator)
	}
	o.Region = dogpile.NewRegion(t.region)
	if err := o.Configure(b, options); err != nil {
		driver.Close(b)
		return fmt.Errorf("--prefix: %s", strings.TrimPrefix(err.Error(), "dogpile: "))
	}
	return nil
}

func (t *target) fromConfig(ctx context.Context, o *opened, options *dogpile.Options) error {
	settings, err := t.settings()
	if err != nil {
		return failure{err}
	}
	names := regionsIn(settings, t.under)
	at := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, t.region) })
	switch {
	case len(names) == 0:
		return failure{fmt.Errorf("%s: no region has settings that begin with %q; --settings-prefix says with what they do", t.config, t.under)}
	case t.region == "" && len(names) == 1:
		at = 0
	case t.region == "":
		return fmt.Errorf("--region says which of the regions of %s: %s", t.config, quoted(names))
	case at < 0:
		return fmt.Errorf("--region is %q, which %s does not have; there are %s", t.region, t.config, quoted(names))
	}
	o.Region = dogpile.NewRegion(names[at])
	o.named, o.complete = true, true
	s := dogpile.Setup{Settings: settingsOf(settings, t.under, names, names[at]), Prefix: t.under, Options: options}
	if err := s.Configure(ctx, o.Region); err != nil {
		return failure{fmt.Errorf("%s: %s", t.config, strings.TrimPrefix(err.Error(), "dogpile: settings: "))}
	}
	return nil
}

func quoted(names []string) string {
	var all []string
	for _, name := range names {
		all = append(all, printable(name))
	}
	return strings.Join(all, ", ")
}

// settings returns what the file and the environment say.
func (t *target) settings() (map[string]string, error) {
	settings, err := config.Load(t.config)
	if err != nil {
		return nil, err
	}
	override(settings, t.env)
	return settings, nil
}

// override puts what the environment says into settings.
func override(settings map[string]string, env string) {
	if env == "" {
		return
	}
	for key, value := range config.FromEnv(env) {
		settings[key] = value
	}
}

// regionsIn returns the names of the regions that have a backend in settings, in
// alphabetical order.
func regionsIn(settings map[string]string, under string) (names []string) {
	for key := range settings {
		rest, is := cutFold(key, under)
		const backend = ".backend"
		end := len(rest) - len(backend)
		if !is || end <= 0 || !strings.EqualFold(rest[end:], backend) || isShared(rest) || strings.Contains(strings.ToLower(rest), ".arguments.") {
			continue
		}
		name := rest[:end]
		same := func(other string) bool { return strings.EqualFold(other, name) }
		switch at := slices.IndexFunc(names, same); {
		case at < 0:
			names = append(names, name)
		case names[at] > name: // capitals come first: the environment has none
			names[at] = name
		}
	}
	slices.Sort(names)
	return names
}

func isShared(rest string) bool {
	_, is := cutFold(rest, "backends.")
	return is
}

// settingsOf returns the settings of one region and of backends that regions share, but for
// those that are of no use here: what makes values of bytes is the program's own, who tries a
// delete again has to stay, and one who keeps copies (near) tells all processes of it, and may be
// refused among them. Who deletes or invalidates waits for the copies of others all the same.
func settingsOf(settings map[string]string, under string, names []string, name string) map[string]string {
	of := make(map[string]string)
	for key, value := range settings {
		rest, is := cutFold(key, under)
		if !is {
			continue
		}
		option, ours := cutFold(rest, name+".")
		for _, other := range names {
			// The settings of a region "a.b" begin like those of a region "a".
			if _, theirs := cutFold(rest, other+"."); theirs && len(other) > len(name) {
				ours = false
			}
		}
		option, _, _ = strings.Cut(strings.ToLower(option), ".") // near.lag is of near
		switch option {
		case "codec", "runner", "retry_deletes", "replace_existing_backend", "near":
			ours = false
		}
		if ours || isShared(rest) {
			of[key] = value
		}
	}
	return of
}

// cutFold is strings.CutPrefix without regard to case.
func cutFold(s, prefix string) (after string, found bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// shared returns an error where other processes do not see what is in the backend.
func (o *opened) shared() error {
	switch {
	case o.caps.Discards:
		return errors.New("the backend keeps nothing")
	case !o.caps.Shared:
		return fmt.Errorf("each process has a backend of its own (%s); there is nothing in that of this one", o.caps.Name)
	}
	return nil
}

// key returns what the backend knows a key as.
func (o *opened) key(key string) string {
	options := o.Options()
	key = options.Prefix + key
	switch {
	case options.Mangler != nil:
		return options.Mangler(key)
	case o.caps.Mangle != nil:
		return o.caps.Mangle(key)
	}
	return key
}

// close closes the region and its backend.
func (o *opened) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	o.Close(ctx)
	if o.backend != nil {
		driver.Close(o.backend)
	}
}

// at runs do with the target opened, which processes share, within its timeout. What do
// returns is a failure, unless it is a status or a fault of the command line.
func (t *target) at(cmd *cobra.Command, do func(ctx context.Context, o *opened) error) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), t.timeout)
	defer cancel()
	o, err := t.open(ctx, cmd)
	if err != nil {
		return err
	}
	defer o.close()
	if err := o.shared(); err != nil {
		return err
	}
	return t.failed(cmd.Context(), inTime(ctx, do(ctx, o)))
}

// failed returns err as what a command returns. ctx is the command's.
func (t *target) failed(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.As(err, new(status)), errors.As(err, new(wrong)):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, new(late)):
		return failure{fmt.Errorf("%w; --timeout is %v", err, t.timeout)}
	}
	return failure{err}
}
