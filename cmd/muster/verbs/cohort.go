package verbs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/client"
)

func cohorts(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "cohort", Short: "Rollout cohorts: a device is in exactly one"})
	cmd.AddCommand(cohortSet(f), cohortList(f), cohortShow(f), cohortRevoke(f),
		cohortHold(f, true, "quarantine COHORT --why REASON", "Hold all devices of a cohort off, those that come to it too"),
		cohortHold(f, false, "release COHORT --why REASON", "Let the devices of a cohort in again"))
	return cmd
}

func cohortSet(f *frame) *cobra.Command {
	var why string
	var d v1.CohortDefinition
	var interval span
	var sleep []string
	cmd := &cobra.Command{
		Use:   "set COHORT --why REASON",
		Short: "Say what holds for a cohort's devices; what is not named stays as it is",
		Example: `  muster cohort set pilot --interval 30s --region eu --why "as ordered"
  muster cohort set night --sleep "mon-fri 22:00-06:00" --why "the plant is dark"`,
		Args: cobra.ExactArgs(1),
	}
	cmd.RunE = f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
		known, err := reg.Cohort(ctx, args[0])
		var problem *v1.Problem
		if errors.As(err, &problem) && problem.Status == http.StatusNotFound {
			err = nil
		}
		if err != nil {
			return err
		}
		d.Why = why
		changed := cmd.Flags().Changed
		if d.IntervalMS = milli(interval); !changed("interval") {
			d.IntervalMS = known.IntervalMS
		}
		if !changed("region") {
			d.Region = known.Region
		}
		if d.Sleep = known.Sleep; changed("sleep") {
			if d.Sleep, err = parseSleeps(sleep); err != nil {
				return misuse{fmt.Errorf("--sleep %w", err)}
			}
		}
		c, err := reg.DefineCohort(ctx, args[0], d)
		if err != nil {
			return err
		}
		return f.printCohorts(c, []v1.Cohort{c})
	})
	cmd.Flags().Var(&interval, "interval", "expected time between messages of a device that has none of its own")
	cmd.Flags().StringVar(&d.Region, "region", "", "the `REGION` that its devices must not leave; empty is none")
	cmd.Flags().StringArrayVar(&sleep, "sleep", nil, "`WHEN` its devices are meant to be silent, UTC: \"mon-fri 22:00-06:00\"; may be repeated, empty is never")
	because(cmd, &why)
	return cmd
}

var weekdays = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

func parseSleeps(texts []string) (out []v1.Sleep, err error) {
	for _, text := range texts {
		if strings.TrimSpace(text) == "" {
			continue
		}
		days, hours, _ := strings.Cut(strings.TrimSpace(text), " ")
		from, to, ok := strings.Cut(strings.TrimSpace(hours), "-")
		if !ok {
			return nil, fmt.Errorf("%q: want days and hours, such as \"mon-fri 22:00-06:00\" or \"daily 01:00-02:00\"", text)
		}
		s := v1.Sleep{From: from, To: to}
		for part := range strings.SplitSeq(days, ",") {
			if part == "daily" {
				part = "mon-sun"
			}
			first, last, span := strings.Cut(part, "-")
			if !span {
				last = first
			}
			i, j := slices.Index(weekdays, first), slices.Index(weekdays, last)
			if i < 0 || j < 0 {
				return nil, fmt.Errorf("%q: want days of %s", text, strings.Join(weekdays, ", "))
			}
			for ; ; i = (i + 1) % len(weekdays) {
				s.Days = append(s.Days, weekdays[i])
				if i == j {
					break
				}
			}
		}
		out = append(out, s)
	}
	return out, nil
}

func cohortList(f *frame) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Every rollout cohort", Args: cobra.NoArgs,
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, _ []string) error {
			all, err := reg.Cohorts(ctx)
			if err != nil {
				return err
			}
			return f.printCohorts(all.Cohorts, all.Cohorts)
		}),
	}
}

func cohortShow(f *frame) *cobra.Command {
	return &cobra.Command{
		Use: "show COHORT", Short: "One rollout cohort", Args: cobra.ExactArgs(1),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			c, err := reg.Cohort(ctx, args[0])
			if err != nil {
				return err
			}
			return f.printCohorts(c, []v1.Cohort{c})
		}),
	}
}

func cohortRevoke(f *frame) *cobra.Command {
	var why string
	var yes bool
	cmd := &cobra.Command{
		Use: "revoke COHORT --why REASON", Short: "Take the identity of all devices of a cohort away at once, for good", Args: cobra.ExactArgs(1),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			return f.revokeCohort(ctx, reg, args[0], why, yes)
		}),
	}
	confirmed(cmd, &yes)
	because(cmd, &why)
	return cmd
}

func cohortHold(f *frame, on bool, use, short string) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			c, err := reg.QuarantineCohort(ctx, args[0], on, why)
			if err != nil {
				return err
			}
			switch {
			case c.Revoked:
				f.say("cohort %s was revoked, for good: there is nobody in it to hold off or to let in", c.Cohort)
			case on:
				f.say("held %d devices of cohort %s off; `muster cohort release %s` lets them in again", c.Devices, c.Cohort, c.Cohort)
			default:
				f.say("let %d devices of cohort %s in again, but for those that are held off themselves", c.Devices, c.Cohort)
			}
			return f.printCohorts(c, []v1.Cohort{c})
		}),
	}
	because(cmd, &why)
	return cmd
}

func (f *frame) printCohorts(data any, all []v1.Cohort) error {
	return f.show(data, "COHORT\tDEVICES\tINTERVAL\tREGION\tSLEEP\tSTATE", func(row func(...any)) {
		for _, c := range all {
			state := "open"
			switch {
			case c.Revoked:
				state = "revoked"
			case c.Quarantined:
				state = "quarantined"
			}
			var sleeps []string
			for _, s := range c.Sleep {
				sleeps = append(sleeps, strings.Join(s.Days, ",")+" "+s.From+"-"+s.To)
			}
			row(c.Cohort, c.Devices, milliseconds(c.IntervalMS), c.Region, strings.Join(sleeps, "; "), state)
		}
	})
}
