package verbs

import (
	"context"

	"github.com/spf13/cobra"

	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/client"
)

func tokens(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "token", Short: "Operators' tokens: who may do what"})
	cmd.AddCommand(tokenCreate(f), tokenList(f), tokenWithdraw(f))
	return cmd
}

func tokenCreate(f *frame) *cobra.Command {
	var t v1.NewToken
	var life span
	var out string
	cmd := &cobra.Command{
		Use:   "create NAME --role ROLE --why REASON",
		Short: "Make an operator's token; its secret is shown this once: alone on standard output, or in a file",
		Long: "NAME stands in the audit log with everything that its bearer does. Roles: viewer reads; operator also changes devices;\n" +
			"releaser reads and releases firmware; admin does everything.",
		Example: `  muster token create alice --role operator --why "on call from May" --out alice.token
  muster device list --token-file alice.token`,
		Args: cobra.ExactArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := lives(cmd, life); err != nil {
			return err
		}
		return f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			t.Name, t.LifeSeconds = args[0], seconds(life)
			made, err := reg.MakeToken(ctx, t)
			if err != nil {
				return err
			}
			f.say("token %s of %s, %s, is good until %s; its secret is not shown again", made.ID, made.Name, made.Role, day(made.NotAfter))
			return f.printSecret(made, made.Secret, out, "muster token withdraw "+made.ID)
		})(cmd, args)
	}
	cmd.Flags().StringVar(&t.Role, "role", "", "what its bearer may do: a `ROLE` of viewer, operator, releaser, admin")
	cmd.Flags().Var(&life, "life", "how long it is good: 12h, 30d (default 90d, a year at most)")
	_ = cmd.MarkFlagRequired("role") // fails for an unknown flag only
	keptIn(cmd, &out)
	because(cmd, &t.Why)
	return cmd
}

func tokenList(f *frame) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Every token that was made, without its secret, which nobody knows any more", Args: cobra.NoArgs,
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, _ []string) error {
			all, err := reg.Tokens(ctx)
			if err != nil {
				return err
			}
			return f.printTokens(all.Tokens, all.Tokens)
		}),
	}
}

func tokenWithdraw(f *frame) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use: "withdraw ID --why REASON", Short: "End a token before its time", Args: cobra.ExactArgs(1),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			t, err := reg.WithdrawToken(ctx, args[0], why)
			if err != nil {
				return err
			}
			return f.printTokens(t, []v1.Token{t})
		}),
	}
	because(cmd, &why)
	return cmd
}

func (f *frame) printTokens(data any, all []v1.Token) error {
	return f.show(data, "TOKEN\tNAME\tROLE\tUNTIL\tSTATE", func(row func(...any)) {
		for _, t := range all {
			row(t.ID, t.Name, t.Role, t.NotAfter, t.State)
		}
	})
}
