package verbs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/client"
)

func seconds(s span) int64 { return int64(time.Duration(s) / time.Second) }

// lives refuses a --life that is no time: the registry takes none given for its own.
func lives(cmd *cobra.Command, life span) error {
	if cmd.Flags().Changed("life") && time.Duration(life) < time.Second {
		return misuse{fmt.Errorf("--life %s: want 1s or more", cmd.Flag("life").Value)}
	}
	return nil
}

func passwords(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "password", Short: "One-time passwords by which devices enrol themselves"})
	cmd.AddCommand(passwordCreate(f), passwordList(f), passwordWithdraw(f))
	return cmd
}

func passwordCreate(f *frame) *cobra.Command {
	var p v1.NewPassword
	var life span
	var out string
	cmd := &cobra.Command{
		Use:   "create --line LABEL --device NAME --why REASON",
		Short: "Make a one-time password; its secret is shown this once: alone on standard output, or in a file",
		Long: "The device gives its id and the secret to the EST server as HTTP Basic. One for a device that is enrolled gives it a new key.\n" +
			"With --prefix any device whose id begins so may use it, as often as --uses says.",
		Example: `  muster password create --line pumps --device pump-7 --why "commissioning, ticket 12" --out pump-7.secret`,
		Args:    cobra.NoArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if p.Uses == 0 {
			return misuse{errors.New("--uses 0: want 1 or more")}
		}
		if err := lives(cmd, life); err != nil {
			return err
		}
		return f.onRegistry(func(ctx context.Context, reg *client.Client, _ []string) error {
			p.LifeSeconds = seconds(life)
			made, err := reg.MakePassword(ctx, p)
			if err != nil {
				return err
			}
			often := "once"
			if made.Uses > 1 {
				often = fmt.Sprintf("%d times at most", made.Uses)
			}
			f.say("password %s is good until %s, to be used %s; its secret is not shown again", made.ID, day(made.NotAfter), often)
			return f.printSecret(made, made.Secret, out, "muster password withdraw "+made.ID)
		})(cmd, args)
	}
	cmd.Flags().StringVar(&p.Label, "line", "", "the product line's `LABEL` that a device which uses it enrols into; may be left out for a device that is enrolled")
	cmd.Flags().StringVar(&p.Device, "device", "", "the one device `NAME` that may use it")
	cmd.Flags().StringVar(&p.Prefix, "prefix", "", "what the names of devices that may use it begin with: a `PREFIX`")
	cmd.Flags().Var(&life, "life", "how long it is good: 12h, 30d (default 7d)")
	cmd.Flags().Uint32Var(&p.Uses, "uses", 1, "how many certificates it may bring")
	cmd.MarkFlagsOneRequired("device", "prefix")
	cmd.MarkFlagsMutuallyExclusive("device", "prefix")
	keptIn(cmd, &out)
	because(cmd, &p.Why)
	return cmd
}

func passwordList(f *frame) *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use: "list", Short: "One-time passwords, without their secrets, which nobody knows any more", Args: cobra.NoArgs,
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, _ []string) error {
			all := []v1.Password{}
			for after := ""; ; {
				page, err := reg.Passwords(ctx, state, after)
				if err != nil {
					return err
				}
				if len(page.Passwords) == 0 {
					break
				}
				all = append(all, page.Passwords...)
				after = all[len(all)-1].ID
			}
			return f.printPasswords(all, all)
		}),
	}
	cmd.Flags().StringVar(&state, "state", "", "only those in a `STATE`: usable, used, ended, withdrawn")
	return cmd
}

func passwordWithdraw(f *frame) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use: "withdraw ID --why REASON", Short: "End a password before its time; what enrolled by it stays", Args: cobra.ExactArgs(1),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			p, err := reg.WithdrawPassword(ctx, args[0], why)
			if err != nil {
				return err
			}
			return f.printPasswords(p, []v1.Password{p})
		}),
	}
	because(cmd, &why)
	return cmd
}

func (f *frame) printPasswords(data any, all []v1.Password) error {
	return f.show(data, "PASSWORD\tLINE\tFOR\tUNTIL\tUSED\tSTATE", func(row func(...any)) {
		for _, p := range all {
			whom := p.Device
			if p.Prefix != "" {
				whom = p.Prefix + "*"
			}
			row(p.ID, p.Label, whom, p.NotAfter, strconv.Itoa(int(p.Used))+" of "+strconv.Itoa(int(p.Uses)), p.State)
		}
	})
}
