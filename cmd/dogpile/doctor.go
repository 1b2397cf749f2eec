package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/doctor"
)

func newDoctor() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at a backend and its servers, and give advice",
		Long: `doctor looks at a backend as an operator would: what it can do, how long a read takes,
whether an entry can be stored, read and removed under a lease; of each Redis or Valkey
server its version and role, maxmemory, eviction policy, whether it may tell of changes
(CLIENT TRACKING over RESP3) and how far its clock is from that of this host; of each
memcached its version, memory, eviction and clock; of a file its size, permissions and disk.
What is unfit for a cache is marked, with one line of advice.

It stores one entry under a key of its own, "dogpile-doctor:…", and removes it. It changes
no setting of a server.

With --json it writes one object a line for each thing that was looked at, with the fields

  check    what was looked at, such as eviction
  server   which server it is about; left out where there is but one, and for what is about
           the whole backend
  value    what was found, for people
  advice   what to do about it; left out where all is well

It exits with 0 if it has no advice, with 3 if it has, and with 1 if the backend or one of its
servers cannot be reached; what can be is looked at all the same.`,
		Example: `  dogpile doctor --config app.toml --region users
  dogpile doctor --backend redis://10.0.0.3:6379/1`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), t.timeout)
			defer cancel()
			o, err := t.open(ctx, cmd)
			if err != nil {
				return err
			}
			defer o.close()
			return t.failed(cmd.Context(), inTime(ctx, diagnose(ctx, o, cmd.OutOrStdout(), asJSON)))
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	t.add(cmd)
	addJSON(cmd, &asJSON)
	return cmd
}

func diagnose(ctx context.Context, o *opened, w io.Writer, asJSON bool) error {
	var checks []doctor.Check
	down := o.Ping(ctx)
	if down != nil {
		checks = append(checks, doctor.Check{Name: "answer", Value: line(down),
			Advice: "see whether it runs, and can be reached from this host; what follows is of what answers"})
	}
	patient := doctor.Patient{Region: o.Region, Key: o.key, Complete: o.complete}
	checks = append(checks, patient.Examine(ctx)...)
	switch err := ctx.Err(); {
	case errors.Is(err, context.Canceled):
		return err
	case down == nil:
		down = err // nothing is known of what had no time to answer
	}
	advised, err := showChecks(w, checks, asJSON)
	switch {
	case err != nil:
		return err
	case down != nil:
		return down
	case advised:
		return found
	}
	return nil
}

// showChecks writes what was found, and reports whether there is any advice.
func showChecks(w io.Writer, checks []doctor.Check, asJSON bool) (advised bool, err error) {
	p := painterOf(w)
	var rows table
	for _, c := range checks {
		c.Value, c.Advice = safe(c.Value), safe(c.Advice)
		advised = advised || c.Advice != ""
		if asJSON {
			if err := writeJSON(w, c); err != nil {
				return false, err
			}
			continue
		}
		name := c.Name
		if c.Server != "" {
			name += " of " + c.Server
		}
		mark := "ok"
		if c.Advice != "" {
			mark = "!!"
		}
		rows = append(rows, []string{mark, name, c.Value})
		if c.Advice != "" {
			rows = append(rows, []string{"", "", "→ " + c.Advice})
		}
	}
	if asJSON {
		return advised, nil
	}
	return advised, writeAdvice(w, p, rows)
}

// writeAdvice writes rows with aligned columns, of which the last is broken between words where
// the terminal ends.
func writeAdvice(w io.Writer, p painter, rows table) error {
	width := 0
	for _, row := range rows {
		width = max(width, len([]rune(row[1])))
	}
	indent := 4 + width + 2
	for _, row := range rows {
		colour := green
		if row[0] == "!!" {
			colour = red
		}
		mark := fmt.Sprintf("%-2s", row[0])
		if row[0] == "" {
			colour = yellow
		} else {
			mark = p.paint(colour, mark)
		}
		for i, part := range wrap(row[2], columnsOf(w)-indent) {
			name := row[1]
			if i > 0 {
				mark, name = "  ", ""
			}
			if colour == yellow {
				part = p.paint(yellow, part)
			}
			if _, err := fmt.Fprintf(w, "%s  %-*s  %s\n", mark, width, name, part); err != nil {
				return err
			}
		}
	}
	return nil
}
