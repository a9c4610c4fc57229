package verbs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/client"
)

func milli(s span) int64 { return time.Duration(s).Milliseconds() }

func deviceRevoke(f *frame) *cobra.Command {
	var why, serial, cohort, issuer string
	var yes bool
	cmd := &cobra.Command{
		Use:   "revoke NAME --why REASON",
		Short: "Take a device's identity away, for good: every gateway drops it within two seconds",
		Long: "A device that was revoked never comes back: enrol another in its place with `muster device replace`. To hold one off while\n" +
			"you look, use `muster device quarantine`.\n\n" +
			"Instead of NAME: --serial revokes one certificate, whose device keeps its others; --cohort every device of a rollout cohort, and\n" +
			"--issuer every certificate that an issuing certificate signed. Those two say how many devices they hit and want --yes.",
		Example: `  muster device revoke boiler-7 --why "stolen from the depot, ticket 4711"
  muster device revoke --serial 3f9a0c... --why "key found in a public repository"
  muster device revoke --cohort pilot --yes --why "test keys were shipped"`,
		Args: func(cmd *cobra.Command, args []string) error {
			n := len(args)
			for _, one := range []string{serial, cohort, issuer} {
				if one != "" {
					n++
				}
			}
			if n != 1 {
				return fmt.Errorf("want one of NAME, --serial, --cohort and --issuer")
			}
			return nil
		},
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			switch {
			case serial != "":
				c, err := reg.RevokeCertificate(ctx, serial, why)
				if err != nil {
					return err
				}
				f.say("revoked certificate %s of %s, for good; the device's other certificates stay", c.Serial, c.Device)
				return f.show(c, "CERTIFICATE\tDEVICE\tREVOKED", func(row func(...any)) { row(c.Serial, c.Device, c.Revoked) })
			case cohort != "":
				return f.revokeCohort(ctx, reg, cohort, why, yes)
			case issuer != "":
				return f.revokeIssuer(ctx, reg, issuer, why, yes)
			}
			d, err := reg.RevokeDevice(ctx, args[0], why)
			if err != nil {
				return err
			}
			f.say("revoked %s, number %d, for good", d.Device, d.No)
			return f.printDevice(d)
		}),
	}
	cmd.Flags().StringVar(&serial, "serial", "", "revoke one certificate, by its `SERIAL` number in hexadecimal")
	cmd.Flags().StringVar(&cohort, "cohort", "", "revoke every device of a `COHORT`, at once")
	cmd.Flags().StringVar(&issuer, "issuer", "", "revoke every certificate of an `ISSUER`, as muster ca show names it")
	confirmed(cmd, &yes)
	because(cmd, &why)
	return cmd
}

func confirmed(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVar(yes, "yes", false, "do it to all these devices")
}

// sure says how many devices a change hits, unless whoever calls has said yes.
func sure(yes bool, what string, n int) error {
	if yes {
		return nil
	}
	devices := fmt.Sprintf("%d devices that are not revoked", n)
	if n == 1 {
		devices = "1 device that is not revoked"
	}
	return unconfirmed{fmt.Errorf("%s is for good and hits %s: add --yes to do it", what, devices)}
}

func (f *frame) revokeCohort(ctx context.Context, reg *client.Client, cohort, why string, yes bool) error {
	before, err := reg.Cohort(ctx, cohort)
	if err != nil {
		return err
	}
	if err := sure(yes || before.Revoked, "revoking cohort "+cohort, before.Devices); err != nil {
		return err
	}
	after, err := reg.RevokeCohort(ctx, cohort, why)
	if err != nil {
		return err
	}
	f.say("revoked %d devices of cohort %s, for good; it takes no more", before.Devices-after.Devices, cohort)
	return f.printCohorts(after, []v1.Cohort{after})
}

func (f *frame) revokeIssuer(ctx context.Context, reg *client.Client, issuer, why string, yes bool) error {
	before, err := reg.Authority(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(before.Issuers, func(i v1.Issuer) bool { return i.Issuer == issuer })
	if at < 0 {
		return misuse{fmt.Errorf("there is no issuer %.80q: `muster ca show` lists them", issuer)}
	}
	hit := before.Issuers[at].Devices
	if issuer == before.Issuing && !yes {
		return unconfirmed{fmt.Errorf("issuer %s is the one that signs now, and revoking it hits %d devices for good: roll it over first with `muster ca roll`, or add --yes", issuer, hit)}
	}
	if err := sure(yes, "revoking issuer "+issuer, hit); err != nil {
		return err
	}
	after, err := reg.RevokeIssuer(ctx, issuer, why)
	if err != nil {
		return err
	}
	f.say("revoked every certificate of issuer %s, for good: the newest of %d devices were from it, and they must enrol anew", issuer, hit)
	return f.printAuthority(after)
}

func deviceQuarantine(f *frame) *cobra.Command {
	return deviceHold(f, true, "quarantine NAME --why REASON", "Hold a device off: its messages are refused, it keeps its identity",
		"held %s off; `muster device release` lets it in again")
}

func deviceRelease(f *frame) *cobra.Command {
	return deviceHold(f, false, "release NAME --why REASON", "Let a device in again that was held off", "let %s in again")
}

func deviceHold(f *frame, on bool, use, short, said string) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			d, err := reg.QuarantineDevice(ctx, args[0], on, why)
			if err != nil {
				return err
			}
			if !on && d.State == v1.StateQuarantined {
				f.say("%s itself is released, but its cohort %s is held off: `muster cohort release %s`", d.Device, d.Cohort, d.Cohort)
			} else {
				f.say(said, d.Device)
			}
			return f.printDevice(d)
		}),
	}
	because(cmd, &why)
	return cmd
}

func deviceMove(f *frame) *cobra.Command {
	var why, cohort string
	cmd := &cobra.Command{
		Use:   "move NAME... --cohort COHORT --why REASON",
		Short: "Move devices to another rollout cohort, all or none of up to 1,000",
		Args:  cobra.RangeArgs(1, 1000),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			after, err := reg.MoveDevices(ctx, cohort, v1.Members{Change: v1.Change{Why: why}, Devices: args})
			if err != nil {
				return err
			}
			f.say("%d in cohort %s now", after.Devices, cohort)
			return f.printCohorts(after, []v1.Cohort{after})
		}),
	}
	cmd.Flags().StringVar(&cohort, "cohort", "", "the `COHORT` that they go to")
	_ = cmd.MarkFlagRequired("cohort") // fails for an unknown flag only
	because(cmd, &why)
	return cmd
}

func deviceDescribe(f *frame) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use:     "describe NAME KEY=VALUE... KEY-... --why REASON",
		Short:   "Set attributes of a device, and take away those with a dash behind them",
		Long:    "Reporting groups select by attributes. Which rollout cohort a device is in never depends on them.",
		Example: `  muster device describe boiler-7 site=berlin owner- --why "moved house"`,
		Args:    cobra.MinimumNArgs(2),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			attributes, err := parseDescription(args[1:])
			if err != nil {
				return err
			}
			d, err := reg.Describe(ctx, args[0], v1.Description{Change: v1.Change{Why: why}, Attributes: attributes})
			if err != nil {
				return err
			}
			return f.printDevice(d)
		}),
	}
	because(cmd, &why)
	return cmd
}

// parseDescription reads KEY=VALUE, and KEY- for what is to be taken away.
func parseDescription(words []string) (map[string]*string, error) {
	out := map[string]*string{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		var set *string
		switch {
		case ok:
			set = &value
		case strings.HasSuffix(word, "-"):
			key = strings.TrimSuffix(word, "-")
		default:
			return nil, misuse{fmt.Errorf("%q: want KEY=VALUE, or KEY- to take it away", word)}
		}
		if _, twice := out[key]; twice || key == "" {
			return nil, misuse{fmt.Errorf("%q: want each key once", word)}
		}
		out[key] = set
	}
	return out, nil
}

func pairs(attributes map[string]string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		out = append(out, key+"="+attributes[key])
	}
	return strings.Join(out, " ")
}

func deviceReplace(f *frame) *cobra.Command {
	var why, out string
	cmd := &cobra.Command{
		Use:   "replace OLD NEW --why REASON",
		Short: "Put a device in another's place, which is revoked by it; the history of both is linked",
		Long: "With --out the new device is enrolled as the old one was (cohort, profile, class, attributes), and its identity is written\n" +
			"there. Without it NEW is enrolled already.",
		Example: `  muster device replace boiler-7 boiler-7b --out boiler-7b --why "mainboard swapped"`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			reg, inst, err := f.registry()
			if err != nil {
				return err
			}
			defer reg.Close()
			r := v1.Replacement{Change: v1.Change{Why: why}, New: args[1]}
			var e v1.Enrolled
			if out != "" {
				e, err = reg.ReplaceInto(cmd.Context(), args[0], r, out)
			} else {
				e, err = reg.Replace(cmd.Context(), args[0], r)
			}
			if err != nil {
				return fmt.Errorf("replacing %s by %s: %w", args[0], args[1], err)
			}
			f.say("%s, number %d, is in the place of %s, which is revoked for good", e.Device, e.No, args[0])
			if out != "" {
				return f.printIdentity(e, inst, out)
			}
			return f.show(e, "NO\tDEVICE\tREPLACES", func(row func(...any)) { row(e.No, e.Device, e.Replaces) })
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "enrol NEW, and write its identity into `DIR`")
	because(cmd, &why)
	return cmd
}

func deviceRenew(f *frame) *cobra.Command {
	var r client.Renewal
	cmd := &cobra.Command{
		Use:   "renew --identity DIR",
		Short: "Renew a device's certificate as the device itself does, by EST: a new key, and files replaced whole",
		Long: "Works while the certificate is good: one that has ended, was revoked, or whose device is held off is refused. Whoever was\n" +
			"interrupted calls it again. What the device trusts is fetched too.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Base == "" {
				_, inst, err := f.running()
				if err != nil {
					return err
				}
				r.Base = inst.Ports.ESTURL()
			}
			r.Base = strings.TrimSuffix(r.Base, "/")
			if !strings.HasPrefix(r.Base, "https://") {
				return misuse{fmt.Errorf("--est %q: want https://HOST:PORT", r.Base)}
			}
			cert, err := client.Renew(cmd.Context(), r)
			if err != nil {
				return err
			}
			shown := renewed{Serial: cert.SerialNumber.Text(16), Device: cert.Subject.CommonName, NotAfter: cert.NotAfter.UTC(), Identity: r.Dir}
			f.say("renewed %s until %s", shown.Device, day(shown.NotAfter))
			return f.show(shown, "DEVICE\tCERTIFICATE\tUNTIL", func(row func(...any)) { row(shown.Device, shown.Serial, shown.NotAfter) })
		},
	}
	cmd.Flags().StringVar(&r.Dir, "identity", "", "the device's `DIR` with ca.pem, cert.pem and key.pem")
	cmd.Flags().BoolVar(&r.KeepKey, "keep-key", false, "the new certificate is for the same key")
	cmd.Flags().StringVar(&r.Base, "est", "", "`URL` of the EST server (default the local stack's)")
	_ = cmd.MarkFlagRequired("identity") // fails for an unknown flag only
	return cmd
}

// renewed is what `device renew --json` prints.
type renewed struct {
	Device   string    `json:"device"`
	Serial   string    `json:"serial"`
	NotAfter time.Time `json:"not_after"`
	Identity string    `json:"identity"`
}
