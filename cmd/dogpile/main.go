// Command dogpile looks at caches of package dogpile, and mends them.
//
//	dogpile get         write the value of a key
//	dogpile peek        show what is known of the entries of keys
//	dogpile rm          delete the entries of keys
//	dogpile invalidate  invalidate all entries of a region, or those with a tag
//	dogpile ls          list the keys of a region
//	dogpile locks       show who creates what, and since when
//	dogpile top         show what caches and servers do, live
//	dogpile watch       show the entries of keys as they change, live
//	dogpile check       say what is wrong or odd in the settings of a program
//	dogpile doctor      look at a backend and its servers, and give advice
//	dogpile bench       put a bounded load on a backend, and measure it
//	dogpile migrate     turn settings of Python's dogpile.cache into settings of this one
//	dogpile demo        put one load before an origin, unprotected and protected
//	dogpile serve       serve a map of tiles through a cache, with a dashboard and metrics
//	dogpile completion  write a script for a shell
//	dogpile --version   print the version, the revision and the Go that it was built with
//
// It exits with 0 if it was done, with 1 if it failed, with 2 if what it was asked for cannot
// be done, with 3 if the answer is no, and with 130 if it was interrupted; see "dogpile help
// exit-codes" and docs/command.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	_ "github.com/dogpile-go/dogpile/backend/file"
	_ "github.com/dogpile-go/dogpile/backend/memcached"
	_ "github.com/dogpile-go/dogpile/backend/memory"
	_ "github.com/dogpile-go/dogpile/backend/null"
	_ "github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/fleet"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/version"
	_ "github.com/dogpile-go/dogpile/codec/cbor"
	_ "github.com/dogpile-go/dogpile/proxy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first interrupt ends ctx and lets the demo clean up. Without a handler the
	// second one kills.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := 2
	var is status
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()), errors.Is(err, errInterrupted):
		err, code = errors.New("interrupted"), 130
	case errors.As(err, new(failure)):
		code = 1
	case errors.As(err, &is):
		if code = 3; is.error == nil {
			return code
		}
	}
	text := line(err)
	if code == 2 {
		text = line(errors.New(withoutArguments(err.Error(), args)))
	}
	fmt.Fprintf(stderr, "dogpile: %s\n", text)
	return code
}

// withoutArguments returns what is wrong with a command line, without the arguments that may be
// URLs, or a part of one, with a password: cobra shows those that it does not know.
func withoutArguments(text string, args []string) string {
	var secret []string
	for _, arg := range args {
		name, value, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		secret = append(secret, arg, strings.TrimLeft(arg, "-"), name, value)
	}
	slices.SortFunc(secret, func(a, b string) int { return len(b) - len(a) }) // the whole before its parts
	for _, s := range secret {
		if len(s) > 1 && strings.ContainsAny(s, ":@?") {
			quoted := strconv.Quote(s)
			text = strings.NewReplacer(quoted, `"…"`, quoted[1:len(quoted)-1], "…", s, "…").Replace(text)
		}
	}
	return text
}

// line returns an error as one line that can be shown.
func line(err error) string { return safe(strings.TrimPrefix(err.Error(), "dogpile: ")) }

// safe returns text as one line that can be shown on a terminal, without what may be secret in a
// URL that was given in the wrong place.
func safe(text string) string {
	// The parts of a joined error stand on lines of their own.
	text = escaped(strings.ReplaceAll(text, "\n", "; "))
	return argument.ReplaceAllString(userinfo.ReplaceAllString(text, "://…@"), "$1…")
}

var (
	// userinfo is the user and the password of a URL, and argument one of its arguments.
	userinfo = regexp.MustCompile(`://[^\s"]*@`)
	argument = regexp.MustCompile(`(?i)(password=)[^\s"&]+`)
)

func newRoot() *cobra.Command {
	info, _ := debug.ReadBuildInfo()
	root := &cobra.Command{
		Use:     "dogpile",
		Version: version.Line(info),
		Short:   "A cache that lets one caller create a value while the others go on reading",
		Long: `dogpile looks at caches of the library of the same name, and mends them.

To see what that is for, begin with "dogpile demo": it puts the same load before a slow
origin three times, unprotected, with coalescing and with dogpile, and shows the
difference as a table and as a page, report.html. It needs no server.

The other commands are about the cache of a program, which --config app.toml --region NAME
or --backend URL names. "dogpile check app.toml" says what is wrong or odd in the settings
of a program.`,
		Args:               cobra.NoArgs,
		SilenceErrors:      true,
		SilenceUsage:       true,
		DisableSuggestions: true,
		RunE:               func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetHelpCommand(newHelp())
	root.AddCommand(newGet(), newPeek(), newRm(), newInvalidate(), newLs(), newLocks(), newTop(), newWatch(), newCheck(), newDoctor(), newBench(), newMigrate(), newDemo(), newServe(), newProcess(), newVersion(), newExitCodes())
	return root
}

// newHelp is cobra's own command, except that help about something that is not
// there is an error.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err == nil && len(rest) > 0 {
				err = fmt.Errorf("unknown command %q", rest[0])
			}
			if err != nil {
				return err
			}
			return about.Help()
		},
	}
}

const processCommand = "demo-process"

// newProcess is the command that dogpile demo starts its processes with.
func newProcess() *cobra.Command {
	return &cobra.Command{
		Use:    processCommand,
		Short:  "Run some of the clients of dogpile demo, which starts this itself",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A terminal sends its interrupt to this process as well as to the demo. It
			// is the demo that stops its processes, in its own time.
			signal.Ignore(os.Interrupt)
			signal.Reset(syscall.SIGTERM)
			return fleet.Serve(cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, as --version does",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), cmd.Root().Version)
			return err
		},
	}
}
