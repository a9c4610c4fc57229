package verbs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/cmd/muster/stack"
	"muster.dev/platform/principals"
	"muster.dev/platform/warehouse"
)

// warehouse opens the local stack's store with the services' rights.
func (f *frame) warehouse() (*warehouse.Warehouse, stack.Dir, stack.Instance, error) {
	dir, inst, err := f.running()
	if err != nil {
		return nil, dir, inst, err
	}
	w, err := warehouse.Open(stack.Store(dir, inst.Ports))
	return w, dir, inst, err
}

// onWarehouse is what a verb runs that asks the warehouse alone.
func (f *frame) onWarehouse(do func(context.Context, *warehouse.Warehouse) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		w, _, _, err := f.warehouse()
		if err != nil {
			return err
		}
		defer w.Close()
		return do(cmd.Context(), w)
	}
}

func migrate(f *frame) *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the warehouse to this program's schema; may be repeated",
		Long:  "Exit codes: 0 done; 4 a table of the schema was dropped, and only a rebuild brings back what it held.",
		Args:  cobra.NoArgs,
		RunE: f.onWarehouse(func(ctx context.Context, w *warehouse.Warehouse) error {
			if err := w.Migrate(ctx, func(line string) { f.say("%s", line) }); err != nil {
				return err
			}
			v, err := w.Version(ctx)
			if err != nil {
				return err
			}
			missing, err := w.Missing(ctx)
			if err != nil {
				return err
			}
			if f.json {
				err = f.printJSON(migrated{Version: v, Missing: missing})
			} else {
				_, err = fmt.Fprintf(f.Out, "schema version %d\n", v)
			}
			if err == nil && len(missing) > 0 {
				err = finding{fmt.Errorf("dropped since they were made: %s; muster rebuild --yes brings them back from the log", strings.Join(missing, ", "))}
			}
			return err
		}),
	}
}

// migrated is what `migrate --json` prints.
type migrated struct {
	Version int64    `json:"version"`
	Missing []string `json:"missing,omitempty"`
}

func ledger(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "ledger", Short: "The ledger: one row for each offset of the log"})
	cmd.AddCommand(&cobra.Command{
		Use:   "audit",
		Short: "Hold the warehouse to its ledger: nothing missing, nothing double, every value counted",
		Long:  "Exit codes: 0 all in order; 4 a finding.",
		Args:  cobra.NoArgs,
		RunE: f.onWarehouse(func(ctx context.Context, w *warehouse.Warehouse) error {
			report, err := w.Audit(ctx)
			if err != nil {
				return err
			}
			if f.json {
				err = f.printJSON(report)
			} else {
				_, err = fmt.Fprint(f.Out, report)
			}
			if err == nil && !report.OK() {
				err = finding{errors.New("the warehouse and its ledger disagree: the report says where")}
			}
			return err
		}),
	})
	return cmd
}

// rebuilt are the processes that write to the warehouse, in the order in which they are stopped.
var rebuilt = []string{stack.Sink, stack.Retention, stack.Registry}

func rebuild(f *frame) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "rebuild --yes",
		Short: "Drop every table and read the log again from its beginning: the same rows come back, as far as the log reaches",
		Long: "The gateway goes on accepting meanwhile. What is older than the log's retention exists in the tables alone and\n" +
			"is lost: telemetry lives 7 days in the log unless its topic says otherwise.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes {
				return misuse{errors.New("rebuild drops every table of the warehouse: say --yes if that is meant")}
			}
			return f.rebuild(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "yes, drop every table")
	return cmd
}

func (f *frame) rebuild(ctx context.Context) (err error) {
	w, dir, inst, err := f.warehouse()
	if err != nil {
		return err
	}
	defer w.Close()
	cfg, err := f.logAs(dir, inst, principals.Admin, stack.SecretKafkaAdmin)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	defer client.Close()
	adm := kadm.NewClient(client)

	var releases []func()
	release := func() {
		for i := len(releases) - 1; i >= 0; i-- {
			releases[i]()
		}
		releases = nil
	}
	defer release()
	for _, name := range rebuilt {
		f.say("stopping %s", name)
		r, err := dir.Hold(ctx, name)
		if err != nil {
			return err
		}
		releases = append(releases, r)
	}
	if _, err := adm.DeleteGroup(ctx, principals.Group); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("forgetting the sink's position: %w", err)
	}
	f.say("dropping every table")
	if err := w.DropAll(ctx); err != nil {
		return err
	}
	if err := w.Migrate(ctx, nil); err != nil {
		return err
	}
	began := time.Now()
	release()
	return f.replayed(ctx, adm, began)
}

// replayed waits until the sink has read what was in the log when it began, and says how far it is.
func (f *frame) replayed(ctx context.Context, adm *kadm.Client, began time.Time) error {
	ends, err := adm.ListEndOffsets(ctx, topicNames["telemetry"], topicNames["events"])
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("asking for the end of the log: %w", err)
	}
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for n := 0; ; n++ {
		left := int64(0)
		commits, err := adm.FetchOffsets(ctx, principals.Group)
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return fmt.Errorf("asking how far the sink is: %w", err)
		}
		ends.Each(func(o kadm.ListedOffset) {
			at := int64(0)
			if c, ok := commits.Lookup(o.Topic, o.Partition); ok && c.At > 0 {
				at = c.At
			}
			left += max(0, o.Offset-at)
		})
		if left == 0 {
			f.say("rebuilt in %s", time.Since(began).Round(100*time.Millisecond))
			return nil
		}
		if n%5 == 0 {
			f.say("%d records to go", left)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("the replay goes on without this command: %w", context.Cause(ctx))
		}
	}
}
