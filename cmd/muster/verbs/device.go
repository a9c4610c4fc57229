package verbs

import (
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"muster.dev/cmd/muster/stack"
	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/client"
)

func devices(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "device", Short: "Devices and their identities"})
	cmd.AddCommand(deviceEnroll(f), deviceList(f), deviceShow(f))
	return cmd
}

// registry opens the operators' API of the local stack.
func (f *frame) registry() (*client.Client, stack.Instance, error) {
	dir, inst, err := f.running()
	if err != nil {
		return nil, inst, err
	}
	token, err := dir.Secret(stack.SecretOperator)
	if err != nil {
		return nil, inst, err
	}
	return client.New(inst.Ports.RegistryURL(), token.Reveal()), inst, nil
}

func deviceEnroll(f *frame) *cobra.Command {
	var e v1.Enrolment
	var out string
	cmd := &cobra.Command{
		Use:   "enroll NAME",
		Short: "Give a device its identity: a key made here, a certificate for it, and a number",
		Long: "Writes ca.pem, cert.pem and key.pem. The key is made here and never leaves. Doing it again keeps the key\n" +
			"and the number and renews the certificate.",
		Example: "  muster device enroll boiler-7 --cohort pilot --out boiler-7\n  curl --cacert boiler-7/ca.pem --cert boiler-7/cert.pem --key boiler-7/key.pem https://127.0.0.1:8443/v1/telemetry ...",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e.Device = args[0]
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
			shown := identityShown{
				Device: enrolled.Device, No: enrolled.No, Gateway: inst.Ports.GatewayURL(),
				CA: filepath.Join(out, client.CAFile), Certificate: filepath.Join(out, client.CertFile), Key: filepath.Join(out, client.KeyFile),
			}
			if f.json {
				return f.printJSON(shown)
			}
			fmt.Fprintln(f.Out, shown.CA)
			fmt.Fprintln(f.Out, shown.Certificate)
			fmt.Fprintln(f.Out, shown.Key)
			return nil
		},
	}
	cmd.Flags().StringVar(&e.Cohort, "cohort", "", "the `COHORT` that it belongs to")
	cmd.Flags().StringVar(&e.Profile, "profile", "", "the `PROFILE`, its kind of device (default \"default\")")
	cmd.Flags().StringVar(&e.Class, "class", "", "retention `CLASS`: standard, debug, audit or cold (default standard)")
	cmd.Flags().BoolVar(&e.History, "history", false, "take readings older than 30 days, for what was recorded long ago")
	cmd.Flags().StringVar(&out, "out", "", "`DIR` for the identity")
	_ = cmd.MarkFlagRequired("cohort") // fails for an unknown flag only
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

// identityShown is what `device enroll --json` prints.
type identityShown struct {
	Device      string `json:"device"`
	No          uint32 `json:"no"`
	Gateway     string `json:"gateway"`
	CA          string `json:"ca"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

func deviceList(f *frame) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Every device that was ever enrolled",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reg, _, err := f.registry()
			if err != nil {
				return err
			}
			defer reg.Close()
			devices := []v1.Device{}
			for after := uint32(0); ; {
				page, err := reg.Devices(cmd.Context(), after, 1000)
				if err != nil {
					return fmt.Errorf("listing the devices: %w", err)
				}
				devices = append(devices, page.Devices...)
				if after = page.Next; after == 0 {
					break
				}
			}
			return f.printDevices(devices)
		},
	}
}

func deviceShow(f *frame) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "One device",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			reg, _, err := f.registry()
			if err != nil {
				return err
			}
			defer reg.Close()
			d, err := reg.Device(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("device %s: %w", args[0], err)
			}
			if f.json {
				return f.printJSON(d)
			}
			return f.printDevices([]v1.Device{d})
		},
	}
}

func (f *frame) printDevices(devices []v1.Device) error {
	if f.json {
		return f.printJSON(devices)
	}
	t := tabwriter.NewWriter(f.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NO\tDEVICE\tCOHORT\tPROFILE\tCLASS\tSTATE")
	for _, d := range devices {
		state := "enrolled"
		if d.History {
			state += ", history"
		}
		if d.Revoked {
			state = "revoked"
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", d.No, d.Device, d.Cohort, d.Profile, d.Class, state)
	}
	return t.Flush()
}
