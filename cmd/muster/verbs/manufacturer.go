package verbs

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/client"
)

func manufacturers(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "manufacturer", Short: "Manufacturers whose birth certificates let a device enrol itself"})
	cmd.AddCommand(manufacturerTrust(f), manufacturerList(f), manufacturerDistrust(f))
	return cmd
}

func manufacturerTrust(f *frame) *cobra.Command {
	var t v1.ManufacturerTrust
	cmd := &cobra.Command{
		Use:   "trust NAME CERTIFICATES --why REASON",
		Short: "Let devices enrol by certificates that these authorities signed, if their serial numbers are claimed",
		Long: "CERTIFICATES is a PEM file of the manufacturer's CA certificates, or - for standard input; they replace those that were trusted\n" +
			"under the name. They count for enrolment alone, never for sending.",
		Args: cobra.ExactArgs(2),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pem, err := f.read(args[1])
		if err != nil {
			return misuse{err}
		}
		t.Certificates = string(pem)
		return f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			m, err := reg.TrustManufacturer(ctx, args[0], t)
			if err != nil {
				return err
			}
			return f.printManufacturers(m, []v1.Manufacturer{m})
		})(cmd, args)
	}
	because(cmd, &t.Why)
	return cmd
}

// read reads a file that the command line names, or standard input.
func (f *frame) read(name string) ([]byte, error) {
	if name != "-" {
		return os.ReadFile(name)
	}
	if f.In == nil {
		return nil, errors.New("standard input is closed")
	}
	return io.ReadAll(io.LimitReader(f.In, 64<<20))
}

func manufacturerList(f *frame) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Every manufacturer that is trusted", Args: cobra.NoArgs,
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, _ []string) error {
			all, err := reg.Manufacturers(ctx)
			if err != nil {
				return err
			}
			return f.printManufacturers(all.Manufacturers, all.Manufacturers)
		}),
	}
}

func manufacturerDistrust(f *frame) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use: "distrust NAME --why REASON", Short: "End that; what enrolled by it stays", Args: cobra.ExactArgs(1),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			left, err := reg.DistrustManufacturer(ctx, args[0], why)
			if err != nil {
				return err
			}
			f.say("%s's certificates enrol nobody any more; devices that enrolled by them stay: `muster device list` and revoke what must go", args[0])
			return f.printManufacturers(left.Manufacturers, left.Manufacturers)
		}),
	}
	because(cmd, &why)
	return cmd
}

func (f *frame) printManufacturers(data any, all []v1.Manufacturer) error {
	return f.show(data, "MANUFACTURER\tCLAIMS\tAUTHORITIES", func(row func(...any)) {
		for _, m := range all {
			row(m.Name, m.Claims, strings.Join(m.Certificates, "; "))
		}
	})
}

func claims(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "claim", Short: "Which of a manufacturer's devices are ours, by serial number"})
	cmd.AddCommand(claimAdd(f), claimList(f), claimRemove(f))
	return cmd
}

// claimsAtOnce keeps a request far below what the API takes; each of them is all or none.
const claimsAtOnce = 400

func claimAdd(f *frame) *cobra.Command {
	var n v1.NewClaims
	var file string
	cmd := &cobra.Command{
		Use:   "add MANUFACTURER [SERIAL[=NAME]]... --line LABEL --why REASON",
		Short: "Claim serial numbers: a device with one of them enrols itself into the line",
		Long: "Without NAME a device is called after the manufacturer and its serial number, in lower case. --file reads serial,name lines,\n" +
			"the name may be missing; of a long list each 400 are claimed together or not at all, and it may be repeated.",
		Example: `  muster claim add acme SN-0001=pump-1 SN-0002 --line pumps --why "delivery 2026-11"`,
		Args:    cobra.MinimumNArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		all, err := f.claims(args[1:], file)
		if err != nil {
			return misuse{err}
		}
		return f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			done := v1.Claimed{Manufacturer: args[0]}
			for some := range slices.Chunk(all, claimsAtOnce) {
				n.Claims = some
				out, err := reg.ClaimSerials(ctx, args[0], n)
				if err != nil {
					return fmt.Errorf("after %d of %d: %w", done.Serials, len(all), err)
				}
				done.Serials += out.Serials
			}
			return f.printClaimed(done)
		})(cmd, args)
	}
	cmd.Flags().StringVar(&n.Label, "line", "", "the product line's `LABEL` that they enrol into")
	cmd.Flags().StringVar(&file, "file", "", "a CSV `FILE` of serial,name; - is standard input")
	_ = cmd.MarkFlagRequired("line") // fails for an unknown flag only
	because(cmd, &n.Why)
	return cmd
}

func (f *frame) claims(words []string, file string) (out []v1.Claim, err error) {
	for _, w := range words {
		serial, name, _ := strings.Cut(w, "=")
		out = append(out, v1.Claim{Serial: serial, Device: name})
	}
	if file != "" {
		data, err := f.read(file)
		if err != nil {
			return nil, fmt.Errorf("--file: %w", err)
		}
		in := csv.NewReader(strings.NewReader(string(data)))
		in.FieldsPerRecord, in.TrimLeadingSpace, in.Comment = -1, true, '#'
		rows, err := in.ReadAll()
		if err != nil {
			return nil, fmt.Errorf("--file %s: %w", file, err)
		}
		for i, row := range rows {
			switch {
			case len(row) > 2:
				return nil, fmt.Errorf("--file %s: row %d has %d columns: want serial,name", file, i+1, len(row))
			case i == 0 && strings.EqualFold(row[0], "serial"):
				continue
			}
			out = append(out, v1.Claim{Serial: strings.TrimSpace(row[0]), Device: strings.TrimSpace(strings.Join(row[1:], ""))})
		}
	}
	if len(out) == 0 {
		return nil, errors.New("want serial numbers, or --file")
	}
	return out, nil
}

func claimList(f *frame) *cobra.Command {
	return &cobra.Command{
		Use:   "list MANUFACTURER [SERIAL]...",
		Short: "Which of a manufacturer's serial numbers are claimed, all of them or those named, and what they are to us",
		Args:  cobra.MinimumNArgs(1),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			all := []v1.Claim{}
			for _, serial := range args[1:] {
				c, err := reg.Claim(ctx, args[0], serial)
				if err != nil {
					return err
				}
				all = append(all, c)
			}
			for after := ""; len(args) == 1; {
				page, err := reg.Claims(ctx, args[0], after)
				if err != nil {
					return err
				}
				all = append(all, page.Claims...)
				if after = page.Next; after == "" {
					break
				}
			}
			return f.show(all, "SERIAL\tDEVICE\tLINE", func(row func(...any)) {
				for _, c := range all {
					row(c.Serial, c.Device, c.Label)
				}
			})
		}),
	}
}

func claimRemove(f *frame) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use:   "remove MANUFACTURER SERIAL... --why REASON",
		Short: "Take claims back, all or none of up to 1,000; what enrolled by them stays",
		Args:  cobra.RangeArgs(2, 1001),
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, args []string) error {
			out, err := reg.ReleaseSerials(ctx, args[0], v1.ClaimRelease{Change: v1.Change{Why: why}, Serials: args[1:]})
			if err != nil {
				return err
			}
			return f.printClaimed(out)
		}),
	}
	because(cmd, &why)
	return cmd
}

func (f *frame) printClaimed(c v1.Claimed) error {
	return f.show(c, "MANUFACTURER\tSERIALS", func(row func(...any)) { row(c.Manufacturer, c.Serials) })
}
