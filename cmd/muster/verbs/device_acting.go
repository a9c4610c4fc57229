package verbs

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/client"
)

func deviceActFor(f *frame) *cobra.Command {
	var grant v1.ActingGrant
	var nobody bool
	cmd := &cobra.Command{
		Use:   "act-for AGENT --device NAME... | --cohort COHORT | --nobody --why REASON",
		Short: "Let a device speak for others: an edge gateway, a Telegraf",
		Long: "AGENT may then send, with its own certificate, what the named devices and those of the cohort said; it stays theirs in every\n" +
			"table. It is refused for any other device, whether there is one of that name or not. What is said here takes the place of what\n" +
			"was said before, and ends with AGENT's revocation; whoever comes into its place by `muster device replace` has to be let act anew.",
		Example: `  muster device act-for hall-3-edge --cohort hall-3 --why "edge gateway of hall 3"
  muster device act-for telegraf-1 --device boiler-7 --device boiler-8 --why "they speak Modbus alone"
  muster device act-for telegraf-1 --nobody --why "taken down"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return err
			}
			if nobody == (len(grant.Devices) > 0 || grant.Cohort != "") {
				return fmt.Errorf("want --device, --cohort or both, or else --nobody")
			}
			return nil
		},
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			var acting v1.Acting
			var err error
			if nobody {
				acting, err = reg.WithdrawActing(ctx, args[0], grant.Why)
			} else {
				acting, err = reg.GrantActing(ctx, args[0], grant)
			}
			if err != nil {
				return err
			}
			f.say("%s speaks for %s", acting.Device, forWhom(acting.ActsFor))
			return f.show(acting, "DEVICE\tACTS FOR", func(row func(...any)) { row(acting.Device, forWhom(acting.ActsFor)) })
		}),
	}
	cmd.Flags().StringArrayVar(&grant.Devices, "device", nil, "a `DEVICE` that it speaks for; may be repeated, up to 1,000 times")
	cmd.Flags().StringVar(&grant.Cohort, "cohort", "", "a rollout `COHORT` for whose devices it speaks, as long as they are in it")
	cmd.Flags().BoolVar(&nobody, "nobody", false, "it speaks for itself alone")
	because(cmd, &grant.Why)
	return cmd
}

// printAgents shows devices that speak for others.
func (f *frame) printAgents(devices []v1.Device) error {
	return f.show(devices, "NO\tDEVICE\tCOHORT\tSTATE\tACTS FOR", func(row func(...any)) {
		for _, d := range devices {
			var acting v1.ActsFor
			if d.ActsFor != nil {
				acting = *d.ActsFor
			}
			row(d.No, d.Device, d.Cohort, d.State, forWhom(acting))
		}
	})
}

// forWhom is for whom a device speaks, in words.
func forWhom(a v1.ActsFor) string {
	var parts []string
	if len(a.Devices) > 0 {
		parts = append(parts, few(a.Devices))
	}
	if a.Cohort != "" {
		parts = append(parts, "all of cohort "+a.Cohort)
	}
	if parts == nil {
		return "itself alone"
	}
	return strings.Join(parts, ", and ")
}

// few is a list of names, of which the first say enough.
func few(names []string) string {
	const shown = 10
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}
