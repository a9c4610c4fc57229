package verbs

import (
	"context"

	"github.com/spf13/cobra"

	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/client"
)

func groups(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "group", Short: "Reporting groups: selectors over attributes, evaluated when they are read"})
	var why string
	set := &cobra.Command{
		Use:     "set GROUP SELECTOR --why REASON",
		Short:   "Give a name to the devices that a selector selects; no rollout looks at it",
		Example: `  muster group set berlin-pumps 'site=berlin,model in (p1,p2)' --why "weekly report"`,
		Args:    cobra.ExactArgs(2),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			g, err := reg.DefineGroup(ctx, args[0], v1.GroupDefinition{Change: v1.Change{Why: why}, Selector: args[1]})
			if err != nil {
				return err
			}
			return f.printGroups(g, []v1.Group{g})
		}),
	}
	list := &cobra.Command{
		Use: "list", Short: "Every reporting group", Args: cobra.NoArgs,
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, _ []string) error {
			all, err := reg.Groups(ctx)
			if err != nil {
				return err
			}
			return f.printGroups(all.Groups, all.Groups)
		}),
	}
	remove := &cobra.Command{
		Use: "remove GROUP --why REASON", Short: "Take a group's name back", Args: cobra.ExactArgs(1),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			left, err := reg.RemoveGroup(ctx, args[0], why)
			if err != nil {
				return err
			}
			return f.printGroups(left.Groups, left.Groups)
		}),
	}
	because(set, &why)
	because(remove, &why)
	cmd.AddCommand(set, list, remove)
	return cmd
}

func (f *frame) printGroups(data any, all []v1.Group) error {
	return f.show(data, "GROUP\tSELECTOR", func(row func(...any)) {
		for _, g := range all {
			row(g.Group, g.Selector)
		}
	})
}

func regions(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "region", Short: "Regions that data must not leave, and the gateways that take their devices"})
	var why string
	set := &cobra.Command{
		Use:     "set REGION GATEWAY --why REASON",
		Short:   "Name the gateway that takes a region's devices: other gateways send them there",
		Example: `  muster region set eu https://eu.gateway.example:8443 --why "residency"`,
		Args:    cobra.ExactArgs(2),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			r, err := reg.DefineRegion(ctx, args[0], v1.RegionDefinition{Change: v1.Change{Why: why}, Gateway: args[1]})
			if err != nil {
				return err
			}
			return f.printRegions(r, []v1.Region{r})
		}),
	}
	list := &cobra.Command{
		Use: "list", Short: "Every region", Args: cobra.NoArgs,
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, _ []string) error {
			all, err := reg.Regions(ctx)
			if err != nil {
				return err
			}
			return f.printRegions(all.Regions, all.Regions)
		}),
	}
	because(set, &why)
	cmd.AddCommand(set, list)
	return cmd
}

func (f *frame) printRegions(data any, all []v1.Region) error {
	return f.show(data, "REGION\tGATEWAY", func(row func(...any)) {
		for _, r := range all {
			row(r.Region, r.Gateway)
		}
	})
}

func lines(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "line", Short: "Product lines: what devices become that enrol themselves"})
	var d v1.LineDefinition
	var interval span
	set := &cobra.Command{
		Use:     "set LABEL --cohort COHORT --why REASON",
		Short:   "Say what devices become that enrol under a label; those that are enrolled stay what they are",
		Example: `  muster line set pumps --profile pump --cohort intake --why "new product"`,
		Args:    cobra.ExactArgs(1),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			d.IntervalMS = milli(interval)
			l, err := reg.DefineLine(ctx, args[0], d)
			if err != nil {
				return err
			}
			return f.printLines(l, []v1.Line{l})
		}),
	}
	set.Flags().StringVar(&d.Cohort, "cohort", "", "the first rollout `COHORT` of its devices")
	set.Flags().StringVar(&d.Profile, "profile", "", "the `PROFILE`, their kind of device (default \"default\")")
	set.Flags().StringVar(&d.Class, "class", "", "retention `CLASS`: standard, debug, audit or cold (default standard)")
	set.Flags().BoolVar(&d.History, "history", false, "take readings older than 30 days")
	set.Flags().Var(&interval, "interval", "expected time between messages (default the cohort's)")
	set.Flags().StringVar(&d.Region, "region", "", "the `REGION` that they must not leave (default the cohort's)")
	_ = set.MarkFlagRequired("cohort") // fails for an unknown flag only
	because(set, &d.Why)
	list := &cobra.Command{
		Use: "list", Short: "Every product line", Args: cobra.NoArgs,
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, _ []string) error {
			all, err := reg.Lines(ctx)
			if err != nil {
				return err
			}
			return f.printLines(all.Lines, all.Lines)
		}),
	}
	cmd.AddCommand(set, list)
	return cmd
}

func (f *frame) printLines(data any, all []v1.Line) error {
	return f.show(data, "LINE\tPROFILE\tCOHORT\tCLASS\tHISTORY\tINTERVAL\tREGION", func(row func(...any)) {
		for _, l := range all {
			row(l.Label, l.Profile, l.Cohort, l.Class, l.History, milliseconds(l.IntervalMS), l.Region)
		}
	})
}
