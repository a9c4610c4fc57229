package verbs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"muster.dev/cmd/muster/stack"
	"muster.dev/fleet/scenario"
)

// Exit codes.
const (
	ExitOK      = 0
	ExitFailed  = 1 // it was tried and failed
	ExitUsage   = 2 // the command line or a file named on it cannot be used; nothing was tried
	ExitNoStack = 3 // no local stack runs where one is needed
	ExitFinding = 4 // it worked, and what was asked about is not as it must be
)

// World is what a command line meets.
type World struct {
	Version  string
	Args     []string
	In       io.Reader // nil is nothing
	Out, Err io.Writer
}

// finding is an error that is an answer: the command worked and found something wrong.
type finding struct{ error }

// misuse is an error of the command line.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

// unconfirmed is a change of many devices that waits for a yes: nothing was tried.
type unconfirmed struct{ error }

// exited carries the exit code of a process run in this one, which has said itself what was wrong.
type exited int

func (e exited) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Main runs one command line and returns its exit code.
func Main(ctx context.Context, w World) int {
	began := false
	cmd := root(w, &began)
	cmd.SetArgs(texts(w.Args))
	cmd.SetOut(w.Out)
	cmd.SetErr(w.Err)
	verb, err := cmd.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	var status exited
	if errors.As(err, &status) {
		return int(status)
	}
	var wrong misuse
	var text *scenario.Problems
	if errors.As(err, &text) { // line by line, each with its place: what an editor can jump to
		fmt.Fprintln(w.Err, err)
		return ExitUsage
	}
	if errors.As(err, &wrong) || !began {
		if !errors.As(err, &wrong) && verb.HasParent() {
			err = fmt.Errorf("%w; want %s", err, strings.TrimSuffix(verb.UseLine(), " [flags]"))
		}
		err = misuse{fmt.Errorf("%w (see %s --help)", err, verb.CommandPath())}
	}
	fmt.Fprintf(w.Err, "muster: %v\n", err)
	var found finding
	var unsure unconfirmed
	switch {
	case errors.As(err, &found):
		return ExitFinding
	case errors.Is(err, stack.ErrNotRunning):
		return ExitNoStack
	case errors.As(err, &wrong), errors.As(err, &unsure):
		return ExitUsage
	}
	return ExitFailed
}

// texts keeps an argument that begins with an SQL comment from being read as a flag: no flag has a space in its name.
func texts(args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		if strings.HasPrefix(a, "-- ") || strings.HasPrefix(a, "--\n") {
			out[i] = "\n" + a
		}
	}
	return out
}

// noun is a command that only groups verbs: without one, or with one it does not have, nothing is done, and the exit
// code says so.
func noun(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var verbs []string
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				verbs = append(verbs, c.Name())
			}
		}
		want := strings.Join(verbs, ", ")
		if len(args) == 0 {
			return misuse{fmt.Errorf("%s: say what to do, one of: %s", cmd.CommandPath(), want)}
		}
		return misuse{fmt.Errorf("%s has no verb %q, only: %s", cmd.CommandPath(), args[0], want)}
	}
	return cmd
}

// frame is what every verb shares.
type frame struct {
	World
	data      string
	json      bool
	tokenFile string
}

// root makes the command tree; began becomes true when a verb begins its work.
func root(w World, began *bool) *cobra.Command {
	f := &frame{World: w}
	cmd := &cobra.Command{
		Use:   "muster",
		Short: "A roll call for connected fleets: the local stack and the operator's commands",
		Long: "A roll call for connected fleets: what every device said is in one log, and everything else is a fold of that log.\n\n" +
			"Exit codes: 0 done; 1 failed; 2 the command line cannot be used; 3 no local stack runs there; 4 the answer is a finding.",
		Version:       w.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misuse{err} })
	cmd.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			if err == nil && len(rest) > 0 {
				err = fmt.Errorf("%s has no verb %q", about.CommandPath(), rest[0])
			}
			if err != nil {
				return misuse{err}
			}
			return about.Help()
		},
	})
	cmd.PersistentFlags().StringVar(&f.data, "data", string(stack.DefaultDir), "the local stack's data `DIR`")
	cmd.PersistentFlags().BoolVar(&f.json, "json", false, "print the data as JSON")
	cmd.PersistentFlags().StringVar(&f.tokenFile, "token-file", "", "a `FILE` with an operator's token (default the stack's own)")
	cmd.AddCommand(
		up(f), status(f), query(f), devices(f), cohorts(f), groups(f), regions(f), lines(f), passwords(f), manufacturers(f), claims(f), tokens(f), certificateAuthority(f), security(f),
		incidents(f), detect(f), evaluateDetectors(f), send(f), edgeGateway(f), simulate(f), events(f), migrate(f), ledger(f), auditing(f), rebuild(f), process(f),
	)
	for c := range all(cmd) {
		if run := c.RunE; run != nil {
			c.RunE = func(c *cobra.Command, args []string) error {
				*began = true
				return run(c, args)
			}
		}
	}
	return cmd
}

func all(cmd *cobra.Command) func(yield func(*cobra.Command) bool) {
	return func(yield func(*cobra.Command) bool) {
		var walk func(*cobra.Command) bool
		walk = func(c *cobra.Command) bool {
			if !yield(c) {
				return false
			}
			for _, sub := range c.Commands() {
				if !walk(sub) {
					return false
				}
			}
			return true
		}
		walk(cmd)
	}
}

// dir is the data directory that --data names.
func (f *frame) dir() (stack.Dir, error) { return stack.OpenDir(f.data) }

// running is the stack that --data names, which must run.
func (f *frame) running() (stack.Dir, stack.Instance, error) {
	d, err := f.dir()
	if err != nil {
		return "", stack.Instance{}, err
	}
	i, err := d.Running()
	return d, i, err
}

// say tells a person on standard error.
func (f *frame) say(format string, args ...any) { fmt.Fprintf(f.Err, format+"\n", args...) }

// printJSON prints one document.
func (f *frame) printJSON(v any) error {
	enc := json.NewEncoder(f.Out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}
