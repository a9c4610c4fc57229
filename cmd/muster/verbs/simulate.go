package verbs

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"muster.dev/cmd/muster/stack"
	"muster.dev/fleet/device"
	"muster.dev/fleet/simulator"
	"muster.dev/platform/daemon"
)

func simulate(f *frame) *cobra.Command {
	cfg := simulator.DefaultConfig()
	var devices int
	var prefix string
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run simulated devices against the local stack, in the foreground",
		Long: "The devices are enrolled in cohort sim, beside those of `muster up`. They live until Ctrl-C or --for, then deliver\n" +
			"what they hold. The values depend on --seed alone.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if devices < 1 {
				return misuse{fmt.Errorf("--devices %d: want at least 1", devices)}
			}
			if length < 0 {
				return misuse{fmt.Errorf("--for %s: want 0 or more", length)}
			}
			dir, inst, err := f.running()
			if err != nil {
				return err
			}
			cfg.Gateway.Gateway, cfg.Identities = inst.Ports.GatewayURL(), dir.Identities()
			for i := range devices {
				cfg.Devices = append(cfg.Devices, fmt.Sprintf("%s-%04d", prefix, i+1))
			}
			if err := cfg.Validate(); err != nil {
				return misuse{err}
			}
			site := stack.Site{Dir: dir, Ports: inst.Ports, Devices: devices}
			if err := site.EnrollFleet(cmd.Context(), cfg.Devices, func(s string) { f.say("%s", s) }); err != nil {
				return err
			}
			fleet, err := simulator.New(cfg, simulator.Settings{
				Log: daemon.NewLog(f.Err, slog.LevelWarn, "simulate", f.Version), Metrics: prometheus.NewRegistry(),
			})
			if err != nil {
				return err
			}
			ctx, cancel := contextWithCancel(cmd)
			defer cancel()
			if length > 0 {
				ctx, cancel = context.WithTimeout(ctx, length)
				defer cancel()
			}
			if err := f.watch(ctx, fleet); err != nil {
				return err
			}
			c := fleet.Counts()
			if f.json {
				return f.printJSON(counted(c))
			}
			_, err = fmt.Fprintf(f.Out, "%d messages: %d stored (%d of them told as duplicates), %d refused, %d dropped, %d waiting; %d retries\n",
				c.Put, c.Stored, c.Duplicates, c.Refused, c.Dropped, c.Waiting, c.Retries)
			return err
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&devices, "devices", defaultDevices, "how many")
	flags.StringVar(&prefix, "prefix", "load", "of the devices' names: PREFIX-0001 and on")
	flags.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "of the signals and the rhythm")
	flags.DurationVar(&cfg.Step, "step", cfg.Step, "between two samples of a device")
	flags.DurationVar(&cfg.Post, "post", cfg.Post, "between two messages of a device")
	flags.DurationVar(&cfg.Reboot, "reboot", cfg.Reboot, "mean time between two reboots of a device; 0 is never")
	flags.Float64Var(&cfg.Resend, "resend", cfg.Resend, "share of messages that are sent again after their 200")
	flags.StringVar(&cfg.Journal, "journal", "", "`FILE` for a line for each accepted message")
	flags.DurationVar(&length, "for", 0, "how long; 0 is until Ctrl-C")
	return cmd
}

// watch runs the fleet and says every few seconds how it does.
func (f *frame) watch(ctx context.Context, fleet *simulator.Fleet) error {
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tell := time.NewTicker(5 * time.Second)
		defer tell.Stop()
		for {
			select {
			case <-tell.C:
				c := fleet.Counts()
				f.say("%d messages stored, %d waiting, %d retries", c.Stored, c.Waiting, c.Retries)
			case <-ended:
				return
			}
		}
	})
	err := fleet.Run(ctx)
	close(ended)
	wg.Wait()
	return err
}

// counted is what `simulate --json` prints.
func counted(c device.Counts) map[string]int {
	return map[string]int{
		"messages": c.Put, "stored": c.Stored, "duplicates": c.Duplicates, "refused": c.Refused,
		"dropped": c.Dropped, "waiting": c.Waiting, "retries": c.Retries,
	}
}
