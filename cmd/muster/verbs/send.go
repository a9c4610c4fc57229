package verbs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"muster.dev/cmd/muster/series"
	"muster.dev/fleet/device"
	"muster.dev/proto/batch"
)

// sent is what `send --json` prints.
type sent struct {
	File        string `json:"file"`
	Device      string `json:"device"`
	Metric      string `json:"metric"`
	Rows        int    `json:"rows"`
	Messages    int    `json:"messages"`
	Duplicates  int    `json:"duplicates"` // messages that were there already
	Quarantined int    `json:"quarantined_values"`
	Boot        uint32 `json:"boot"`
}

func send(f *frame) *cobra.Command {
	var file, name, identity, metric, gateway string
	steps := batch.MaxSteps
	cmd := &cobra.Command{
		Use:   "send",
		Short: "Send a recorded series, a CSV of timestamp,value in UTC, as a device's readings",
		Long: "The file's name without .csv, in lower case and with _ for what a name may not hold, is the metric. A file\n" +
			"may be sent again, whole or after an interruption: what is stored already is told and not stored twice.\n" +
			"A file that grew is another file. Enrol the device with --history if its times are older than 30 days.",
		Example: "  muster device enroll server-1 --cohort recorded --history --out server-1\n" +
			"  muster send --csv ec2_cpu_utilization_24ae8d.csv --device server-1 --identity server-1",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if steps < 1 || steps > batch.MaxSteps {
				return misuse{fmt.Errorf("--rows-per-message %d: want 1 to %d", steps, batch.MaxSteps)}
			}
			s, err := series.ReadFile(file, metric)
			if err != nil {
				return misuse{err}
			}
			id, err := device.LoadIdentity(identity)
			if err != nil {
				return misuse{fmt.Errorf("%w (muster device enroll %s --out %s makes one)", err, name, identity)}
			}
			if id.Device != name {
				return misuse{fmt.Errorf("the identity in %s is that of %s, not of %s", identity, id.Device, name)}
			}
			cfg := device.DefaultConfig()
			if cfg.Gateway = gateway; gateway == "" {
				_, inst, err := f.running()
				if err != nil {
					return fmt.Errorf("%w; or name a gateway with --gateway URL", err)
				}
				cfg.Gateway = inst.Ports.GatewayURL()
			}
			client, err := device.NewClient(cfg, id)
			if err != nil {
				return misuse{err}
			}
			defer client.Close()
			done := sent{File: file, Device: name, Metric: s.Metric, Rows: len(s.Times), Boot: s.Boot(steps)}
			var found finding // all of it was sent, so it is told all the same
			err = f.sendParts(cmd.Context(), client, s, steps, &done)
			if err != nil && !errors.As(err, &found) {
				return err
			}
			f.say("%s: %d rows as %s of %s in %d messages, %d of which were there already", file, done.Rows, s.Metric, name, done.Messages, done.Duplicates)
			if f.json {
				return cmp.Or(f.printJSON(done), err)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&file, "csv", "", "the `FILE`")
	cmd.Flags().StringVar(&name, "device", "", "the device's `NAME`")
	cmd.Flags().StringVar(&identity, "identity", "", "`DIR` with its ca.pem, cert.pem and key.pem")
	cmd.Flags().StringVar(&metric, "metric", "", "the metric's `NAME`, instead of the file's")
	cmd.Flags().StringVar(&gateway, "gateway", "", "base `URL` of a gateway, instead of the local stack's")
	cmd.Flags().IntVar(&steps, "rows-per-message", steps, "part of the key: sending again with another number stores again")
	for _, flag := range []string{"csv", "device", "identity"} {
		_ = cmd.MarkFlagRequired(flag) // fails for an unknown flag only
	}
	return cmd
}

func (f *frame) sendParts(ctx context.Context, client *device.Client, s *series.Series, steps int, done *sent) error {
	parts := s.Cut(steps)
	builder := batch.NewBuilder()
	tell := time.Now().Add(2 * time.Second)
	var body []byte
	for _, p := range parts {
		builder.Reset()
		builder.SetKey(done.Boot, p.Seq)
		s.Put(builder, p)
		var err error
		if body, err = builder.AppendTo(body[:0]); err != nil {
			return fmt.Errorf("rows %d to %d: %w", p.From+1, p.To, err)
		}
		warned := false
		r, err := client.Deliver(ctx, body, func(u *device.Unsure) {
			if !warned {
				f.say("rows %d to %d: %v; sending again", p.From+1, p.To, u)
				warned = true
			}
		})
		if err != nil {
			return fmt.Errorf("rows %d to %d of %s: %w (%d messages before are stored; the same command goes on from there)", p.From+1, p.To, done.File, err, done.Messages)
		}
		done.Messages++
		done.Quarantined += r.Quarantined
		if r.Duplicate {
			done.Duplicates++
		}
		if time.Now().After(tell) {
			f.say("%d of %d rows", p.To, len(s.Times))
			tell = time.Now().Add(2 * time.Second)
		}
	}
	if done.Quarantined > 0 {
		return finding{fmt.Errorf("%d of %d values were put into quarantine: see SELECT metric, ts, reason FROM quarantine WHERE device = '%s' (times older than 30 days need a device enrolled with --history)", done.Quarantined, done.Rows, done.Device)}
	}
	return nil
}
