package verbs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"muster.dev/cmd/muster/evaluate"
	"muster.dev/cmd/muster/stack"
	"muster.dev/fleet/scenario"
	"muster.dev/platform/daemon"
	"muster.dev/proto/event"
	"muster.dev/services/anomaly/series"
)

// evaluation is what `muster evaluate` was asked for.
type evaluation struct {
	nab   string
	seeds []uint
	all   bool
	false bool
}

func evaluateDetectors(f *frame) *cobra.Command {
	var o evaluation
	cmd := &cobra.Command{
		Use:   "evaluate [SCENARIO...]",
		Short: "Play scenarios to the detectors, and hold what they say against what befell the fleet",
		Long: `SCENARIO is a file, or a name of the library (muster simulate list); --all is the library. Each is played in fast time onto a log
of its own, which is gone afterwards; the detectors read it as they read any log, and are judged by incidents and truth alone.

The table says of each scenario what had to be told, after how long it was, whether the cause was right, and what was said that
nothing explains. --nab scores the detector of series on a directory laid out as the Numenta Anomaly Benchmark is.

Exit codes: 0 all that had to be told was; 2 a scenario or directory cannot be used; 4 something was missed.`,
		Example: "  muster evaluate silent-cohort-power region-outage\n  muster evaluate --all --seed 11,12\n  muster evaluate my-fleet.yaml --false",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !o.all && o.nab == "" {
				return misuse{errors.New("say what to evaluate: a SCENARIO, --all or --nab DIR")}
			}
			if o.all {
				args = append(args, library()...)
			}
			missed, err := f.evaluateAll(cmd, &o, args)
			if err != nil {
				return err
			}
			if o.nab != "" {
				if err := f.scoreNAB(o.nab); err != nil {
					return err
				}
			}
			if missed > 0 {
				return finding{fmt.Errorf("%d that had to be told was not", missed)}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "every scenario of the library")
	cmd.Flags().UintSliceVar(&o.seeds, "seed", nil, "play each with these `SEEDS`, as 11,12, and not with its own")
	cmd.Flags().Lookup("seed").DefValue = "" // which help does not show
	cmd.Flags().StringVar(&o.nab, "nab", "", "a `DIR` with series and labels.json, as of the Numenta Anomaly Benchmark")
	cmd.Flags().BoolVar(&o.false, "false", false, "say what each false incident said")
	return cmd
}

func (f *frame) evaluateAll(cmd *cobra.Command, o *evaluation, names []string) (missed int, err error) {
	var todo []*scenario.Scenario
	for _, name := range names {
		s, err := readScenario(name)
		if err != nil {
			return 0, misuse{err}
		}
		if len(o.seeds) == 0 {
			todo = append(todo, s)
		}
		for _, seed := range o.seeds {
			again := *s
			again.Seed = uint64(seed)
			todo = append(todo, &again)
		}
	}
	if len(todo) == 0 {
		return 0, nil
	}
	room, err := os.MkdirTemp("", "muster-evaluate-")
	if err != nil {
		return 0, fmt.Errorf("a directory for the logs: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(room)) }()
	log := daemon.NewLog(f.Err, slog.LevelError, "evaluate", f.Version)
	var all []evaluate.Outcome
	for i, s := range todo {
		dir, err := stack.OpenDir(filepath.Join(room, "log"))
		if err != nil {
			return 0, err
		}
		outcome, err := evaluate.Play(cmd.Context(), evaluate.Settings{Dir: dir, Scenario: s, Log: log})
		if err != nil {
			return 0, err
		}
		f.say("%d of %d: %s, seed %d: %d records in %s", i+1, len(todo), s.Name, s.Seed, outcome.Records, outcome.Took.Round(100*time.Millisecond))
		if o.false {
			f.sayFalse(&outcome)
		}
		missed += outcome.Missed()
		all = append(all, outcome)
	}
	if f.json {
		return missed, f.printJSON(outcomesShown(all))
	}
	return missed, evaluate.Table(f.Out, all)
}

func (f *frame) sayFalse(o *evaluate.Outcome) {
	for _, i := range o.Judgement.False {
		t := &o.Judgement.Told[i]
		var names []string
		for _, m := range t.Devices[:min(len(t.Devices), 5)] {
			names = append(names, m.ID)
		}
		f.say("  false: %s %s, %s, %s to %s: %s %s", t.Kind, t.Cause, aboutWhat(t.Subject), minute(t.Since), endOfIncident(&t.Incident), t.Title+"; "+t.Why, strings.Join(names, " "))
	}
}

func endOfIncident(i *event.Incident) string {
	if i.ResolvedAt == 0 {
		return "the end"
	}
	return minute(i.ResolvedAt)
}

// nabShown is a profile of the benchmark as --json prints it.
type nabShown struct {
	Profile   string  `json:"profile"`
	Score     float64 `json:"score"`
	Threshold float64 `json:"threshold"`
	Windows   int     `json:"windows"`
	Found     int     `json:"found"`
	False     int     `json:"false_rows"`
}

// scoreNAB prints how the detector of series does on labelled series.
func (f *frame) scoreNAB(dir string) error {
	t, err := series.NAB(dir)
	if err != nil {
		return misuse{fmt.Errorf("--nab %s: %w", dir, err)}
	}
	shown := make([]nabShown, len(t.Profiles))
	for i, p := range t.Profiles {
		r := t.Results[i]
		shown[i] = nabShown{p.Name, r.Score, r.Threshold, r.Windows, r.Found, r.False}
	}
	if f.json {
		return f.printJSON(map[string]any{"series": t.Series, "rows": t.Rows, "profiles": shown, "split": t.Split, "each_by_the_others": t.Each})
	}
	if err := table(f.Out, "NAB\tSCORE\tTHRESHOLD\tWINDOWS FOUND\tFALSE ROWS", func(row func(...any)) {
		for _, p := range shown {
			row(p.Profile, fmt.Sprintf("%.1f", p.Score), fmt.Sprintf("%.3f", p.Threshold), fmt.Sprintf("%d of %d", p.Found, p.Windows), p.False)
		}
	}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(f.Out, "standard, the threshold chosen on half of the series and judged on the other: %.1f; chosen without the series that it judges: %.1f\n"+
		"%d series, %d rows, %.3f false rows a day of a series\n", t.Split, t.Each, t.Series, t.Rows, t.FalseADay())
	return err
}
