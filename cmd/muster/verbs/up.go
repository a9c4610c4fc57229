package verbs

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"muster.dev/cmd/muster/stack"
	"muster.dev/cmd/muster/supervise"
	"muster.dev/proto/event"
)

// defaultDevices is a fleet that a laptop does not notice.
const defaultDevices = 20

func up(f *frame) *cobra.Command {
	o := stack.Order{Version: f.Version, Out: f.Out, Err: f.Err}
	var check bool
	var played string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the local stack in the foreground, with a small simulated fleet; Ctrl-C stops it in order",
		Long: "Starts the log, the store, the registry, sink, retention, detectors, gateway and a simulated fleet, each a process\n" +
			"of its own, and keeps them running. What was accepted survives kill -9 of any of them, and of this command.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Dir, err = f.dir(); err != nil {
				return err
			}
			if o.Devices < 0 {
				return misuse{fmt.Errorf("--devices %d: want 0 or more", o.Devices)}
			}
			if played != "" {
				if cmd.Flags().Changed("devices") {
					return misuse{fmt.Errorf("--devices %d: the scenario says how many", o.Devices)}
				}
				if o.World, o.Text, err = readWorld(played); err != nil {
					return misuse{err}
				}
			}
			if o.Region != "" && !event.Name(o.Region) {
				return misuse{fmt.Errorf("--region %q: want [a-z0-9][a-z0-9._-]{0,62}", o.Region)}
			}
			if err := stack.CheckAlertmanager(o.Alertmanager); err != nil {
				return misuse{fmt.Errorf("--alertmanager: %w", err)}
			}
			if _, err := stack.PortsAt(o.Offset); err != nil {
				return misuse{err}
			}
			if check {
				return stack.Check(o)
			}
			return stack.Up(cmd.Context(), o)
		},
	}
	cmd.Flags().IntVar(&o.Devices, "devices", defaultDevices, "simulated devices; 0 is none")
	cmd.Flags().StringVar(&played, "scenario", "", "a `FILE`, or a name of muster simulate list: its devices live it by the clock, instead of the small fleet")
	cmd.Flags().StringVar(&o.Region, "region", "", "the gateway's `REGION`: it takes its devices, and those of no region (default all)")
	cmd.Flags().StringVar(&o.Alertmanager, "alertmanager", "", "the `URL` of an Alertmanager, which is told of incidents (default nobody is)")
	cmd.Flags().BoolVar(&check, "check", false, "only say what would stop it now: a taken port, another stack on the directory")
	cmd.Flags().IntVar(&o.Offset, "listen-offset", 0, "add `N` to every port, so that two stacks can stand side by side")
	return cmd
}

func status(f *frame) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "What runs, and whether it is ready: exit 0 when every part is",
		Long: "Below the table stands what is wrong, since when, and the runbook for it; a part that is ready may have something\n" +
			"to complain of too.\n\nExit codes: 0 every part is ready; 3 no stack runs on the data directory; 4 a part is not ready.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := f.dir()
			if err != nil {
				return err
			}
			s, err := dir.Status(cmd.Context())
			if err != nil {
				return err
			}
			if f.json {
				err = f.printJSON(s)
			} else {
				err = f.printStatus(s)
			}
			if err == nil && !s.Ready {
				err = finding{fmt.Errorf("not every part is ready")}
			}
			return err
		},
	}
}

func (f *frame) printStatus(s stack.Status) error {
	ago := func(t time.Time) string { return time.Since(t).Round(time.Second).String() }
	t := tabwriter.NewWriter(f.Out, 0, 0, 2, ' ', 0)
	logs := map[string]string{}
	fmt.Fprintln(t, "PART\tSTATE\tPROCESS\tRUNS FOR\tRESTARTS\tHEALTH AND METRICS")
	for _, p := range s.Parts {
		state, runs := "ready", "-"
		if !p.Ready {
			state = "not ready"
		}
		if !p.Unready.IsZero() {
			state += " for " + ago(p.Unready)
		}
		if !p.Started.IsZero() {
			runs = ago(p.Started)
		}
		logs[p.Name] = stack.Shown(p.Log)
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%d\t%s\n", p.Name, state, p.PID, runs, p.Restarts, p.Ops)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, x := range s.Findings {
		since := ""
		if !x.Since.IsZero() {
			since = " since " + x.Since.Local().Format("15:04:05")
		}
		fmt.Fprintf(f.Out, "\n%s%s: %s\n  do what %s says; its log is %s\n", x.Part, since, x.Says, x.Runbook, logs[x.Part])
	}
	_, err := fmt.Fprintf(f.Out, "\ngateway %s and %s, registry %s, ClickHouse %s, Kafka %s\n", s.Gateway, s.MQTT, s.Registry, s.ClickHouse, s.Kafka)
	return err
}

// process is what `up` starts: one part in a process of its own.
func process(f *frame) *cobra.Command {
	var config string
	var fd int
	cmd := &cobra.Command{
		Use:    "process NAME",
		Short:  "Run one part of a stack",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := contextWithCancel(cmd)
			defer cancel()
			overdue := make(chan struct{})
			if fd >= 0 {
				stop, err := supervise.Watch(fd, func() {
					cancel()
					time.AfterFunc(stack.OrphanGrace, func() { close(overdue) })
				})
				if err != nil {
					return misuse{err}
				}
				defer stop()
			}
			ended := make(chan error, 1)
			go func() { // ends with the process, which its supervisor's end may end first
				code, err := stack.Run(ctx, args[0], config, f.Version)
				if err != nil {
					err = misuse{err}
				} else if code != ExitOK {
					err = exited(code)
				}
				ended <- err
			}()
			select {
			case err := <-ended:
				return err
			case <-overdue:
				return fmt.Errorf("%s did not stop within %s of its supervisor's end, and ends as it stands", args[0], stack.OrphanGrace)
			}
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "YAML `FILE`")
	cmd.Flags().IntVar(&fd, "watch-fd", -1, "descriptor whose end says that the supervisor is gone")
	_ = cmd.MarkFlagRequired("config") // fails for an unknown flag only
	return cmd
}
