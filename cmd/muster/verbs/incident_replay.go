package verbs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"muster.dev/cmd/muster/stack"
	"muster.dev/platform/daemon"
	"muster.dev/platform/principals"
	"muster.dev/proto/event"
	"muster.dev/services/anomaly"
	"muster.dev/services/anomaly/replay"
)

// replaying is what `muster incident replay` was asked for.
type replaying struct {
	bundle   string
	whatIf   []string
	revision uint32
	most     size
}

// size is a number of bytes on the command line.
type size int64

func (s *size) String() string { return strconv.FormatInt(int64(*s)>>20, 10) + "MiB" }
func (s *size) Type() string   { return "SIZE" }
func (s *size) Set(text string) error {
	for unit, bytes := range map[string]int64{"MiB": 1 << 20, "GiB": 1 << 30} {
		if n, err := strconv.ParseInt(strings.TrimSuffix(text, unit), 10, 32); err == nil && strings.HasSuffix(text, unit) && n > 0 {
			*s = size(n * bytes)
			return nil
		}
	}
	return errors.New("want a size, such as 512MiB or 4GiB")
}

func incidentReplay(f *frame) *cobra.Command {
	o := replaying{most: 4 << 30}
	cmd := &cobra.Command{
		Use:   "replay [ID]",
		Short: "Tell an incident once more from the log, and hold it against what was told",
		Long: `The detectors' states of before the incident are read, and what the log held from there on is folded again, in this process. What
comes of it is compared with what was told, page by page and record by record, byte for byte.

With --what-if the same stretch is judged by other thresholds, on the same baselines: detect.silence.missed and the like, as the
anomaly service's configuration has them (muster process anomaly --dump shows all). Nothing is written to the log.

With --bundle FILE no stack is needed: the file that muster incident export made has all of it.

Exit codes: 0 the same was told; 1 it could not be done, as when the log no longer reaches there; 4 something else was told.`,
		Example: "  muster incident replay i3kq7f2m4x5za\n  muster incident replay i3kq7f2m4x5za --what-if silence.missed=4 --what-if silence.false_per_1000_weeks=0.1\n  muster incident replay --bundle i3kq7f2m4x5za.tar.zst",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if (len(args) == 1) == (o.bundle != "") {
				return misuse{errors.New("want the ID of an incident, or --bundle FILE")}
			}
			c, done, err := f.caseOf(cmd.Context(), &o, args)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done()) }()
			if o.revision > 0 {
				n := slices.IndexFunc(c.Records, func(i event.Incident) bool { return i.Revision == o.revision })
				if n < 0 {
					return misuse{fmt.Errorf("--revision %d: the incident has %d", o.revision, len(c.Records))}
				}
				c.Records = c.Records[:n+1]
			}
			began := time.Now()
			a, err := c.Again(cmd.Context())
			if err != nil {
				return f.replayFailed(err)
			}
			f.say("folded up to %s UTC in %s", minute(a.Until), time.Since(began).Round(10*time.Millisecond))
			if c.Settings.Other {
				return f.printWhatIf(c, &a)
			}
			return f.printReplay(c, &a)
		},
	}
	cmd.Flags().StringVar(&o.bundle, "bundle", "", "a `FILE` of muster incident export, instead of a running stack")
	cmd.Flags().StringArrayVar(&o.whatIf, "what-if", nil, "`KEY=VALUE`: another threshold of the detectors; may be repeated")
	cmd.Flags().Uint32Var(&o.revision, "revision", 0, "up to this record of the incident (default its last one)")
	cmd.Flags().Var(&o.most, "max", "what a bundle may unpack to")
	return cmd
}

// replayFailed says what to do where the log is too short.
func (f *frame) replayFailed(err error) error {
	if errors.Is(err, replay.ErrGone) {
		return fmt.Errorf("incident replay: %w: it can be replayed from a bundle only, if somebody exported one", err)
	}
	return fmt.Errorf("incident replay: %w", err)
}

// caseOf is what is to be replayed; done is called afterwards.
func (f *frame) caseOf(ctx context.Context, o *replaying, args []string) (c *replay.Case, done func() error, err error) {
	if o.bundle != "" {
		file, err := os.Open(o.bundle)
		if err != nil {
			return nil, nil, misuse{err}
		}
		defer file.Close()
		b, err := replay.OpenBundle(file, int64(o.most))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", o.bundle, err)
		}
		if c, err = b.Case(ctx); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("%s: %w", o.bundle, err), b.Close())
		}
		f.say("%s: %s, made by %s on %s", o.bundle, b.Title, b.By, b.Made.UTC().Format(time.DateTime))
		done = b.Close
	} else {
		if c, err = f.caseOnLog(ctx, args[0]); err != nil {
			return nil, nil, err
		}
		done = func() error { return nil }
	}
	if len(o.whatIf) == 0 {
		return c, done, nil
	}
	if err := o.apply(c); err != nil {
		return nil, nil, errors.Join(misuse{err}, done())
	}
	return c, done, nil
}

// caseOnLog is an incident of the stack that runs.
func (f *frame) caseOnLog(ctx context.Context, id string) (*replay.Case, error) {
	s, err := f.story(ctx, id)
	if err != nil {
		return nil, err
	}
	dir, inst, err := f.running()
	if err != nil {
		return nil, err
	}
	log, err := f.logAs(dir, inst, principals.Reader, stack.SecretKafkaReader)
	if err != nil {
		return nil, err
	}
	cfg := anomaly.DefaultConfig()
	if err := daemon.Load(dir.Config(stack.Anomaly), &cfg, os.LookupEnv); err != nil {
		return nil, fmt.Errorf("the detectors' configuration: %w", err)
	}
	settings := replay.Settings{}
	settings.Shard, settings.Judge = cfg.Detect.Settings()
	c, err := replay.FromBroker(ctx, log, s, settings)
	if err != nil {
		return nil, fmt.Errorf("incident %s: %w", id, err)
	}
	return c, nil
}

// apply puts the thresholds of --what-if in the place of those that were.
func (o *replaying) apply(c *replay.Case) error {
	for _, set := range o.whatIf {
		key, value, ok := strings.Cut(set, "=")
		if !ok {
			return fmt.Errorf("--what-if %q: want KEY=VALUE, such as silence.missed=4", set)
		}
		detect, err := anomaly.DetectOf(c.Settings.Shard, c.Settings.Judge).With(strings.TrimPrefix(key, "detect."), value)
		if err != nil {
			return fmt.Errorf("--what-if %s: %w", set, err)
		}
		c.Settings.Shard, c.Settings.Judge = detect.Settings()
	}
	c.Settings.Other = true
	return nil
}

// replayShown is what --json prints.
type replayShown struct {
	Incident string          `json:"incident"`
	Same     bool            `json:"same"`
	Why      string          `json:"why,omitempty"`
	Records  int             `json:"records"`
	Told     []incidentShown `json:"told"`
	Others   []incidentShown `json:"others,omitempty"`
}

func shownAll(list []event.Incident) []incidentShown {
	out := make([]incidentShown, len(list))
	for i := range list {
		out[i] = shownOf(&list[i])
	}
	return out
}

func (f *frame) printReplay(c *replay.Case, a *replay.Answer) error {
	last := &c.Records[len(c.Records)-1]
	var err error
	if f.json {
		err = f.printJSON(replayShown{last.ID, a.Same, a.Why, len(c.Records), shownAll(a.Told), nil})
	} else if len(a.Told) > 0 {
		err = printStory(f.Out, a.Told, nil, nil)
	}
	if err != nil {
		return err
	}
	if !a.Same {
		return finding{fmt.Errorf("incident %s is not told again as it was: %s", last.ID, a.Why)}
	}
	f.say("identical: %d of %d records of %s, byte for byte", len(c.Records), len(c.Records), last.ID)
	return nil
}

// printWhatIf shows what would have been told, beside what was.
func (f *frame) printWhatIf(c *replay.Case, a *replay.Answer) error {
	last := &c.Records[len(c.Records)-1]
	if f.json {
		return f.printJSON(replayShown{last.ID, a.Same, "", len(c.Records), shownAll(a.Told), shownAll(a.Others)})
	}
	var b bytes.Buffer
	row := func(what string, records []event.Incident) {
		if len(records) == 0 {
			fmt.Fprintf(&b, "%-10s nothing up to %s UTC\n", what, minute(a.Until))
			return
		}
		first, end := &records[0], &records[len(records)-1]
		fmt.Fprintf(&b, "%-10s %s UTC, %s after it began: %s, %s; %d devices, %d records\n", what, minute(first.At),
			(time.Duration(first.At-first.Since) * time.Millisecond).Round(time.Second), end.Severity, end.Cause, end.Count, len(records))
	}
	fmt.Fprintf(&b, "%s\n", last.Title)
	row("was told", c.Records)
	row("would be", a.Told)
	if len(a.Others) > 0 {
		fmt.Fprintf(&b, "besides\n")
	}
	for i := range a.Others {
		if o := &a.Others[i]; o.Revision == 1 {
			fmt.Fprintf(&b, "  %s UTC  %-16s %-10s %s\n", minute(o.At), o.Kind, o.Cause, aboutWhat(o.Subject))
		}
	}
	_, err := io.Copy(f.Out, &b)
	return err
}

func incidentExport(f *frame) *cobra.Command {
	var out string
	most := size(1 << 30)
	cmd := &cobra.Command{
		Use:   "export ID",
		Short: "Write all that an incident rests on into one file, from which a colleague can replay it without this stack",
		Long: `The incident is replayed first; if it comes out the same, the detectors' states of before it and the records from there on are
written, with the incident's own: all that was said in that time, of all devices, not of the incident's alone. Treat the file as
you treat the log.

Exit codes: 0 done; 1 it could not be done; 4 the replay told something else, and nothing was written.`,
		Example: "  muster incident export i3kq7f2m4x5za --out i3kq7f2m4x5za.tar.zst",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.caseOnLog(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if out == "" {
				out = c.Records[0].ID + ".tar.zst"
			}
			return f.export(cmd.Context(), c, out, int64(most))
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the `FILE` (default ID.tar.zst here)")
	cmd.Flags().Var(&most, "max", "what records and states may come to before they are packed")
	return cmd
}

// exportShown is what --json prints.
type exportShown struct {
	Incident string        `json:"incident"`
	File     string        `json:"file"`
	Bytes    int64         `json:"bytes"`
	Files    []replay.File `json:"files"`
}

func (f *frame) export(ctx context.Context, c *replay.Case, name string, most int64) (err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return misuse{fmt.Errorf("--out: %w", err)}
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	a, m, err := c.Export(ctx, file, f.Version, most)
	if err != nil {
		return f.replayFailed(err)
	}
	if !a.Same {
		return finding{fmt.Errorf("incident %s is not told again as it was, and nothing was written: %s", c.Records[0].ID, a.Why)}
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	var raw int64
	for _, e := range m.Files {
		raw += e.Bytes
	}
	f.say("%s: %d KiB, of %d KiB in %d entries; muster incident replay --bundle %s tells it again", name, info.Size()>>10, raw>>10, len(m.Files), name)
	if f.json {
		return json.NewEncoder(f.Out).Encode(exportShown{m.Incident, name, info.Size(), m.Files})
	}
	return nil
}
