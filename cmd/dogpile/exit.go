package main

import (
	"github.com/spf13/cobra"
)

// failure is an error of the run itself, as opposed to one of the command line.
type failure struct{ error }

// Unwrap returns the error of the run.
func (f failure) Unwrap() error { return f.error }

// status is no error but what a command has found, which its exit code tells: 3.
type status struct{ error }

// Unwrap returns what was found. A nil error of it is told of on standard output already.
func (s status) Unwrap() error { return s.error }

// wrong is an error of the command line that only the run has shown.
type wrong struct{ error }

// Unwrap returns the error.
func (w wrong) Unwrap() error { return w.error }

// found is the status of a command that has said everything itself.
var found = status{}

func newExitCodes() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Every command exits with one of these, and says why in one line on standard error,
unless it is 0 or 3 and everything has been said on standard output:

    0  it was done, or found, or nothing is wrong
    1  it failed: the server is down, a file cannot be read, settings are at fault
    2  the command line is wrong, or asks for what cannot be
    3  it was done, and the answer is no: get, peek: there is no such entry that readers
       are given; doctor: it has advice to give; locks: nobody holds one; ls: there is no key
  130  it was interrupted, by Ctrl-C or SIGTERM`,
	}
}
