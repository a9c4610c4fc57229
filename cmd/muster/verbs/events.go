package verbs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/cmd/muster/stack"
	"muster.dev/cmd/muster/tail"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/principals"
	"muster.dev/proto/record"
)

// logAs is how one of the log's principals reaches it.
func (f *frame) logAs(dir stack.Dir, inst stack.Instance, principal, secret string) (eventlog.Config, error) {
	s, err := dir.Secret(secret)
	if err != nil {
		return eventlog.Config{}, err
	}
	cfg := eventlog.DefaultConfig()
	cfg.Brokers = []string{stack.Loopback(inst.Ports.Kafka)}
	cfg.User, cfg.Secret, cfg.ClientID = principal, s, "muster-cli"
	return cfg, nil
}

var topicNames = map[string]string{
	"telemetry": record.TopicTelemetry, "events": record.TopicEvents, "registry": record.TopicRegistry, "incidents": record.TopicIncidents,
}

func events(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "events", Short: "The log, readable"})
	cmd.AddCommand(eventsTail(f))
	return cmd
}

func eventsTail(f *frame) *cobra.Command {
	var (
		topics   []string
		s        eventlog.TailSettings
		since    span
		device   string
		limit    int
		watermks bool
	)
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show what devices, the registry and the detectors say, as it comes; --json gives one document a line",
		Example: `  muster events tail
  muster events tail --topic registry --from-start --no-follow
  muster events tail --device sim-0001 --json --since 10m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, t := range topics {
				name, ok := topicNames[t]
				if !ok {
					return misuse{fmt.Errorf("--topic %q: want telemetry, events, registry or incidents", t)}
				}
				s.Topics = append(s.Topics, name)
			}
			for _, n := range []struct {
				flag  string
				wrong bool
			}{{"last", s.Last < 0}, {"limit", limit < 0}} {
				if n.wrong {
					return misuse{fmt.Errorf("--%s %s: want 0 or more", n.flag, cmd.Flag(n.flag).Value)}
				}
			}
			if since > 0 {
				s.Since = time.Now().Add(-time.Duration(since))
			}
			dir, inst, err := f.running()
			if err != nil {
				return err
			}
			cfg, err := f.logAs(dir, inst, principals.Reader, stack.SecretKafkaReader)
			if err != nil {
				return err
			}
			reader := tail.NewReader()
			// Schemas by which messages name their metrics lie in the registry's topic.
			before := eventlog.TailSettings{Topics: []string{record.TopicRegistry}}
			if err := eventlog.Tail(cmd.Context(), cfg, before, func(r *kgo.Record) error { reader.Read(r); return nil }); err != nil {
				return endOf(cmd.Context(), err)
			}
			lines := json.NewEncoder(f.Out)
			shown := 0
			return endOf(cmd.Context(), eventlog.Tail(cmd.Context(), cfg, s, func(r *kgo.Record) error {
				e := reader.Read(r)
				if device != "" && e.Device != device || !watermks && record.IsControl(e.Type) {
					return nil
				}
				if f.json {
					err = lines.Encode(e)
				} else {
					_, err = fmt.Fprintln(f.Out, e)
				}
				if err != nil {
					return fmt.Errorf("writing to standard output: %w", err)
				}
				if shown++; shown == limit {
					return eventlog.ErrStop
				}
				return nil
			}))
		},
	}
	cmd.Flags().StringSliceVar(&topics, "topic", []string{"telemetry", "events", "registry"}, "telemetry, events, registry, incidents")
	cmd.Flags().Var(&since, "since", "begin with what is at most this old")
	cmd.Flags().Int64Var(&s.Last, "last", 0, "begin `N` records before the end of each partition")
	cmd.Flags().BoolVar(&s.Start, "from-start", false, "begin with the oldest record")
	noFollow := cmd.Flags().Bool("no-follow", false, "end at what is now the end")
	cmd.Flags().StringVar(&device, "device", "", "only this device's")
	cmd.Flags().IntVar(&limit, "limit", 0, "end after `N` records; 0 is never")
	cmd.Flags().BoolVar(&watermks, "watermarks", false, "show the gateways' watermarks too")
	cmd.MarkFlagsMutuallyExclusive("since", "last", "from-start")
	cmd.PreRun = func(*cobra.Command, []string) { s.Follow = !*noFollow }
	return cmd
}

// endOf makes Ctrl-C an ordinary end.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

// contextWithCancel is the command's context with an end of its own.
func contextWithCancel(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithCancel(cmd.Context())
}
