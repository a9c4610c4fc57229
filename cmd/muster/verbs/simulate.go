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

// simulation is what `muster simulate` was asked for.
type simulation struct {
	// With a scenario.
	fast    bool
	weeks   int
	scale   int
	out     string
	workers int
	store   bool
	noStore bool
	beat    time.Duration

	// Without one.
	load   simulator.Config
	prefix string

	// With and without.
	devices int
	seed    uint64
	mqtt    float64
	length  time.Duration
}

func simulate(f *frame) *cobra.Command {
	o := simulation{load: simulator.DefaultConfig(), store: true}
	cmd := &cobra.Command{
		Use:   "simulate [SCENARIO]",
		Short: "Play a scenario: in real time against the local stack, or weeks in minutes onto a log of its own",
		Long: `SCENARIO is a file, or a name of the library (muster simulate list). docs/scenarios.md is the reference of what it may hold.

Without --fast its devices are enrolled where they are missing, and live by the wall clock through the gateway of the stack
that --data names, each with a certificate of its own, until the scenario ends, --for is over, or Ctrl-C.

With --fast the same lives are written onto a log of their own with the times at which they would have arrived, and from
there the real sink stores them, unless --no-store. The data stays in --out DIR: muster up --data DIR opens it. The next
simulation into DIR takes its place; what is no simulation is never touched.

Either way what happened to whom is left in DIR/truth.jsonl, and a delivery report is printed: what was heard of the fleet
against what it said. Without a SCENARIO a number of devices send by the clock, for load: --prefix to --journal are for that.

Exit codes: 0 done; 2 the scenario cannot be used; 3 no stack runs; 4 a message that arrived is not stored exactly once.`,
		Example: `  muster simulate first-rehearsal --fast --weeks 4
  muster simulate first-rehearsal --fast --weeks 4 --scale 10
  muster simulate my-fleet.yaml --for 10m
  muster simulate --devices 500`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd, len(args) == 1); err != nil {
				return misuse{err}
			}
			if len(args) == 0 {
				return f.load(cmd, &o)
			}
			s, err := o.scenario(cmd, args[0])
			if err != nil {
				return misuse{err}
			}
			if o.fast {
				return f.playFast(cmd, &o, s)
			}
			return f.playLive(cmd, &o, s)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.fast, "fast", false, "in fast time, onto a log of its own")
	flags.IntVar(&o.weeks, "weeks", 0, "how long the scenario lasts (default as it says)")
	flags.IntVar(&o.scale, "scale", 1, "as many times the devices")
	flags.IntVar(&o.devices, "devices", defaultDevices, "how many: dealt to the cohorts in the scenario's proportions, which has its own number")
	flags.Uint64Var(&o.seed, "seed", o.load.Seed, "of everything that is left to chance (default the scenario's)")
	flags.StringVar(&o.out, "out", "", "`DIR` of the data of --fast, of the truth and of the report (default simulations/SCENARIO in --data)")
	flags.IntVar(&o.workers, "workers", 0, "that make the messages; 0 is one for each processor")
	flags.BoolVar(&o.store, "store", true, "with --fast: the store too, and the report of it")
	flags.BoolVar(&o.noStore, "no-store", false, "with --fast: the log alone")
	flags.DurationVar(&o.beat, "beat", time.Minute, "with --fast: between two watermarks of a gateway, of simulated time")
	flags.Float64Var(&o.mqtt, "mqtt", 0, "without --fast: share of the devices that send by MQTT, from 0 to 1")
	flags.DurationVar(&o.length, "for", 0, "without --fast: how long; 0 is to the end, or until Ctrl-C")
	flags.StringVar(&o.prefix, "prefix", "load", "of the devices' names: PREFIX-0001 and on")
	flags.DurationVar(&o.load.Step, "step", o.load.Step, "between two samples of a device")
	flags.DurationVar(&o.load.Post, "post", o.load.Post, "between two messages of a device")
	flags.DurationVar(&o.load.Reboot, "reboot", o.load.Reboot, "mean time between two reboots of a device; 0 is never")
	flags.Float64Var(&o.load.Resend, "resend", o.load.Resend, "share of messages that are sent again after their 200")
	flags.StringVar(&o.load.Journal, "journal", "", "`FILE` for a line for each accepted message")
	cmd.AddCommand(scenarioCheck(f), scenarioList(f))
	return cmd
}

// ofLoad and ofScenario are the flags that mean something only without a scenario, or only with one.
var (
	ofLoad     = []string{"prefix", "step", "post", "reboot", "resend", "journal"}
	ofScenario = []string{"fast", "weeks", "scale", "out", "workers", "store", "no-store", "beat", "mqtt"}
	ofFast     = []string{"workers", "store", "no-store", "beat"}
)

func (o *simulation) check(cmd *cobra.Command, scenario bool) error {
	set := func(names []string) string {
		for _, name := range names {
			if cmd.Flags().Changed(name) {
				return name
			}
		}
		return ""
	}
	switch {
	case !scenario && set(ofScenario) != "":
		return fmt.Errorf("--%s: want a SCENARIO to play", set(ofScenario))
	case scenario && set(ofLoad) != "":
		return fmt.Errorf("--%s: a scenario says that itself", set(ofLoad))
	case scenario && !o.fast && set(ofFast) != "":
		return fmt.Errorf("--%s: is for --fast", set(ofFast))
	case o.fast && cmd.Flags().Changed("for"):
		return fmt.Errorf("--for %s: with --fast say --weeks", o.length)
	case o.devices < 1:
		return fmt.Errorf("--devices %d: want at least 1", o.devices)
	case o.scale < 1:
		return fmt.Errorf("--scale %d: want at least 1", o.scale)
	case cmd.Flags().Changed("weeks") && (o.weeks < 1 || o.weeks > 520):
		return fmt.Errorf("--weeks %d: want 1 to 520", o.weeks)
	case o.mqtt < 0 || o.mqtt > 1:
		return fmt.Errorf("--mqtt %v: want 0 to 1", o.mqtt)
	case o.length < 0:
		return fmt.Errorf("--for %s: want 0 or more", o.length)
	case o.workers < 0:
		return fmt.Errorf("--workers %d: want 0 or more", o.workers)
	case o.beat < time.Second || o.beat > time.Hour:
		return fmt.Errorf("--beat %s: want 1s to 1h", o.beat)
	}
	o.store = o.store && !o.noStore
	return nil
}

// load runs devices that send by the clock.
func (f *frame) load(cmd *cobra.Command, o *simulation) error {
	dir, inst, err := f.running()
	if err != nil {
		return err
	}
	cfg := o.load
	cfg.Seed, cfg.Gateway.Gateway, cfg.Identities = o.seed, inst.Ports.GatewayURL(), dir.Identities()
	for i := range o.devices {
		cfg.Devices = append(cfg.Devices, fmt.Sprintf("%s-%04d", o.prefix, i+1))
	}
	if err := cfg.Validate(); err != nil {
		return misuse{err}
	}
	site := stack.Site{Dir: dir, Ports: inst.Ports, Devices: o.devices}
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
	if o.length > 0 {
		ctx, cancel = context.WithTimeout(ctx, o.length)
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
