package verbs

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"muster.dev/cmd/muster/stack"
	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/client"
)

func devices(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "device", Short: "Devices and their identities"})
	cmd.AddCommand(deviceEnroll(f), deviceList(f), deviceShow(f), deviceRevoke(f), deviceReplace(f), deviceQuarantine(f), deviceRelease(f),
		deviceMove(f), deviceDescribe(f), deviceRenew(f), deviceActFor(f))
	return cmd
}

func deviceEnroll(f *frame) *cobra.Command {
	var e v1.Enrolment
	var out string
	var interval span
	var attributes []string
	cmd := &cobra.Command{
		Use:   "enroll NAME",
		Short: "Give a device its identity: a key made here, a certificate for it, and a number",
		Long: "Writes ca.pem, cert.pem and key.pem. The key is made here and never leaves. Doing it again keeps the key\n" +
			"and the number and renews the certificate.",
		Example: "  muster device enroll boiler-7 --cohort pilot --out boiler-7\n  curl --cacert boiler-7/ca.pem --cert boiler-7/cert.pem --key boiler-7/key.pem https://127.0.0.1:8443/v1/telemetry ...",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e.Device, e.IntervalMS = args[0], milli(interval)
			d, err := parseDescription(attributes)
			if err != nil {
				return err
			}
			for key, value := range d {
				if value == nil {
					return misuse{fmt.Errorf("--attribute %s-: there is nothing to take away yet", key)}
				}
				if e.Attributes == nil {
					e.Attributes = map[string]string{}
				}
				e.Attributes[key] = *value
			}
			reg, inst, err := f.registry()
			if err != nil {
				return err
			}
			defer reg.Close()
			enrolled, err := reg.EnrollInto(cmd.Context(), e, out)
			if err != nil {
				return fmt.Errorf("enrolling %s: %w", e.Device, err)
			}
			f.say("enrolled %s as number %d; its identity is in %s", enrolled.Device, enrolled.No, out)
			return f.printIdentity(enrolled, inst, out)
		},
	}
	cmd.Flags().StringVar(&e.Cohort, "cohort", "", "the `COHORT` that it belongs to")
	cmd.Flags().StringVar(&e.Profile, "profile", "", "the `PROFILE`, its kind of device (default \"default\")")
	cmd.Flags().StringVar(&e.Class, "class", "", "retention `CLASS`: standard, debug, audit or cold (default standard)")
	cmd.Flags().BoolVar(&e.History, "history", false, "take readings older than 30 days, for what was recorded long ago")
	cmd.Flags().Var(&interval, "interval", "expected time between its messages (default the cohort's)")
	cmd.Flags().StringVar(&e.Region, "region", "", "the `REGION` that it must not leave (default the cohort's)")
	cmd.Flags().StringArrayVar(&attributes, "attribute", nil, "`KEY=VALUE` that reporting groups select by; may be repeated")
	cmd.Flags().StringVar(&e.Why, "why", "", "the `REASON`, which stands in the audit log")
	cmd.Flags().StringVar(&out, "out", "", "`DIR` for the identity")
	_ = cmd.MarkFlagRequired("cohort") // fails for an unknown flag only
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

// identityShown is what `device enroll --json` prints.
type identityShown struct {
	Device      string `json:"device"`
	No          uint32 `json:"no"`
	Replaces    string `json:"replaces,omitempty"`
	Gateway     string `json:"gateway"`
	MQTT        string `json:"mqtt"`
	CA          string `json:"ca"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

func (f *frame) printIdentity(e v1.Enrolled, inst stack.Instance, dir string) error {
	shown := identityShown{
		Device: e.Device, No: e.No, Replaces: e.Replaces, Gateway: inst.Ports.GatewayURL(), MQTT: inst.Ports.MQTTURL(),
		CA: filepath.Join(dir, client.CAFile), Certificate: filepath.Join(dir, client.CertFile), Key: filepath.Join(dir, client.KeyFile),
	}
	if f.json {
		return f.printJSON(shown)
	}
	_, err := fmt.Fprintf(f.Out, "%s\n%s\n%s\n", shown.CA, shown.Certificate, shown.Key)
	return err
}

func deviceList(f *frame) *cobra.Command {
	var filter client.Filter
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Every device that was ever enrolled, or those asked for",
		Example: "  muster device list --cohort pilot --state quarantined\n  muster device list --selector 'site=berlin,model in (a,b)'",
		Args:    cobra.NoArgs,
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, _ []string) error {
			devices, err := find(ctx, reg, filter)
			if err != nil {
				return err
			}
			if len(devices) == 0 {
				f.say("no device is like that: `muster cohort list` and `muster region list` name what there is")
			}
			if filter.Acting {
				return f.printAgents(devices)
			}
			return f.printDevices(devices)
		}),
	}
	cmd.Flags().BoolVar(&filter.Acting, "acting", false, "only those that may speak for others, and for whom")
	cmd.Flags().StringVar(&filter.Cohort, "cohort", "", "only those of a `COHORT`")
	cmd.Flags().StringVar(&filter.Region, "region", "", "only those of a `REGION`")
	cmd.Flags().StringVar(&filter.State, "state", "", "only those in a `STATE`: enrolled, quarantined, revoked")
	cmd.Flags().StringVar(&filter.Selector, "selector", "", "only those that a `SELECTOR` selects: key=value, key!=value, key in (a,b), key, joined by commas")
	return cmd
}

func find(ctx context.Context, reg *client.Client, filter client.Filter) ([]v1.Device, error) {
	devices := []v1.Device{}
	for after := uint32(0); ; {
		page, err := reg.Find(ctx, filter, after, 1000)
		if err != nil {
			return nil, err
		}
		devices = append(devices, page.Devices...)
		if after = page.Next; after == 0 {
			return devices, nil
		}
	}
}

func deviceShow(f *frame) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "One device, with its certificates, attributes and groups",
		Args:  cobra.ExactArgs(1),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			d, err := reg.Device(ctx, args[0])
			if err != nil {
				return err
			}
			return f.printDevice(d)
		}),
	}
}

func (f *frame) printDevice(d v1.Device) error {
	if f.json {
		return f.printJSON(d)
	}
	if err := f.printDevices([]v1.Device{d}); err != nil {
		return err
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(f.Out, "%-12s %s\n", name, value)
		}
	}
	fmt.Fprintln(f.Out)
	line("enrolled", strings.TrimSpace(day(d.EnrolledAt)+" "+d.Method))
	line("interval", milliseconds(d.IntervalMS))
	line("region", d.Region)
	line("attributes", pairs(d.Attributes))
	line("groups", strings.Join(d.Groups, ", "))
	if d.ActsFor != nil {
		line("acts for", forWhom(*d.ActsFor))
	}
	line("spoken for", few(d.SpokenForBy))
	line("replaces", d.Replaces)
	line("replaced by", d.ReplacedBy)
	if len(d.Certificates) == 0 {
		return nil
	}
	fmt.Fprintln(f.Out)
	return table(f.Out, "CERTIFICATE\tFROM\tUNTIL\tISSUER\tSTATE", func(row func(...any)) {
		for _, c := range d.Certificates {
			state := "good"
			if c.Revoked || d.Revoked {
				state = "revoked"
			}
			row(c.Serial, c.NotBefore, c.NotAfter, c.Issuer, state)
		}
	})
}

func (f *frame) printDevices(devices []v1.Device) error {
	return f.show(devices, "NO\tDEVICE\tCOHORT\tPROFILE\tCLASS\tSTATE\tREGION", func(row func(...any)) {
		for _, d := range devices {
			state := d.State
			if d.History && !d.Revoked {
				state += ", history"
			}
			if d.ReplacedBy != "" {
				state += ", replaced by " + d.ReplacedBy
			}
			row(d.No, d.Device, d.Cohort, d.Profile, d.Class, state, d.Region)
		}
	})
}
