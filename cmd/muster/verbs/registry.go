package verbs

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"muster.dev/cmd/muster/stack"
	"muster.dev/platform/daemon"
	"muster.dev/services/registry/client"
	"muster.dev/services/registry/wholefile"
)

// registry opens the operators' API of the local stack, as the bearer of --token-file or else of the stack's own token.
func (f *frame) registry() (*client.Client, stack.Instance, error) {
	dir, inst, err := f.running()
	if err != nil {
		return nil, inst, err
	}
	var token daemon.Secret
	if f.tokenFile != "" {
		if token, err = daemon.ReadSecret(f.tokenFile); err != nil {
			return nil, inst, misuse{fmt.Errorf("--token-file: %w", err)}
		}
	} else if token, err = dir.Secret(stack.SecretOperator); err != nil {
		return nil, inst, err
	}
	return client.New(inst.Ports.RegistryURL(), token.Reveal()), inst, nil
}

// onRegistry is what a verb runs that asks the registry alone.
func (f *frame) onRegistry(do func(context.Context, *client.Client, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		reg, _, err := f.registry()
		if err != nil {
			return err
		}
		defer reg.Close()
		if err := do(cmd.Context(), reg, args); err != nil {
			return fmt.Errorf("%s: %w", strings.TrimPrefix(cmd.CommandPath(), "muster "), err)
		}
		return nil
	}
}

// because is the flag that every change carries.
func because(cmd *cobra.Command, why *string) {
	cmd.Flags().StringVar(why, "why", "", "the `REASON`, which stands in the audit log beside the change")
	_ = cmd.MarkFlagRequired("why") // fails for an unknown flag only
}

// keptIn is the flag of what makes a secret.
func keptIn(cmd *cobra.Command, out *string) {
	cmd.Flags().StringVar(out, "out", "", "write the secret into `FILE`, which only its owner may read (default standard output)")
}

// printSecret shows what is shown once; what could not be shown is to be undone by a command.
func (f *frame) printSecret(made any, secret, out, undo string) error {
	lost := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%w; its secret is lost: `%s --why ...`, and make another", err, undo)
	}
	if out != "" {
		if err := wholefile.Write(out, []byte(secret+"\n"), 0o600); err != nil {
			return lost(err)
		}
		f.say("its secret is in %s", out)
	}
	switch {
	case f.json && out == "":
		return lost(f.printJSON(made))
	case f.json:
		return f.printJSON(made)
	case out != "":
		return nil
	}
	_, err := fmt.Fprintln(f.Out, secret)
	return lost(err)
}

// show prints data: as JSON, or as the table for people.
func (f *frame) show(data any, heading string, rows func(row func(cells ...any))) error {
	if f.json {
		return f.printJSON(data)
	}
	return table(f.Out, heading, rows)
}

// table is one with a heading of columns that tabs part.
func table(out io.Writer, heading string, rows func(row func(cells ...any))) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, heading)
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			switch c := c.(type) {
			case string:
				if c == "" {
					c = "-"
				}
				fmt.Fprint(t, c)
			case time.Time:
				fmt.Fprint(t, day(c))
			default:
				fmt.Fprint(t, c)
			}
		}
		fmt.Fprintln(t)
	})
	return t.Flush()
}

// day is an instant as people read it.
func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04Z")
}

// span is a duration as flags take it and tables show it: Go's, and days.
type span time.Duration

func (s *span) String() string {
	d := time.Duration(*s)
	switch {
	case d == 0:
		return ""
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Set reads it.
func (s *span) Set(text string) error {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		if _, err := fmt.Sscanf(days+";", "%d;", &n); err != nil || n < 0 || n > 36_500 {
			return fmt.Errorf("%q: want a duration such as 30s, 12h or 7d", text)
		}
		*s = span(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("%q: want a duration such as 30s, 12h or 7d", text)
	}
	*s = span(d)
	return nil
}

// Type is what help calls it.
func (s *span) Type() string { return "duration" }

func milliseconds(ms int64) string {
	s := span(time.Duration(ms) * time.Millisecond)
	return s.String()
}
