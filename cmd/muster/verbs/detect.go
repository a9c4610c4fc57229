package verbs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"muster.dev/services/anomaly/series"
)

func detect(f *frame) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "detect --csv FILE",
		Short: "Score a recorded series, a CSV of timestamp,value, by the detector that watches telemetry",
		Long: "Prints timestamp,value,score: 0 is usual, 1 could not be less so. A score uses its row and those before it, never a later one.\n" +
			"Times are RFC 3339, YYYY-MM-DD hh:mm:ss in UTC (without seconds, or the day alone, too), or Unix milliseconds. A value that is missing\n" +
			"(empty, NaN, NA, N/A, null, None) has no score. The service opens incidents at " + incidentScore + "; a chart may mark less.\n" +
			"A flat line is in no score: it is named on standard error when it is over. Jumps, drifts, swings and rates, which the service tells beside it, are not looked for.",
		Example: "  muster detect --csv ec2_cpu_utilization_24ae8d.csv > scored.csv\n  muster detect --csv - --json < temperature.csv",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, name := f.In, "standard input"
			if file != "-" {
				opened, err := os.Open(file)
				if err != nil {
					return misuse{err}
				}
				defer opened.Close()
				in, name = opened, file
			}
			if in == nil {
				in = strings.NewReader("")
			}
			out := f.Out
			if f.json {
				out = &rowsAsJSON{out: f.Out}
			}
			watched := &watchedWriter{Writer: out}
			err := series.CSV(in, watched, series.DefaultLimits(), func(l series.Flat) {
				f.say("flat line: %s from %s to %s, for longer than ever before; the scores do not show it", l.Value, l.From, l.Until)
			})
			switch {
			case watched.err != nil:
				return fmt.Errorf("writing to standard output: %w", watched.err)
			case err != nil:
				return misuse{fmt.Errorf("%s: %w", name, err)}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "csv", "", "the `FILE`; - is standard input")
	_ = cmd.MarkFlagRequired("csv") // fails for an unknown flag only
	return cmd
}

// incidentScore is the score from which the service speaks of an incident.
var incidentScore = fmt.Sprintf("%.2f", series.DefaultSettings().Threshold)

// watchedWriter knows whether it was the writing that failed.
type watchedWriter struct {
	io.Writer
	err error
}

func (w *watchedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.err = errors.Join(w.err, err)
	return n, err
}

// rowsAsJSON makes a document of each line of CSV.
type rowsAsJSON struct {
	out    io.Writer
	rest   []byte
	header bool // has been seen
}

// scoredRow is a row as --json prints it; a value that is missing is null, and so is its score.
type scoredRow struct {
	Timestamp string       `json:"timestamp"`
	Value     *json.Number `json:"value"`
	Score     *json.Number `json:"score"`
}

// jsonNumber is a number that was read, as it stood where JSON knows it: .5, +5 and 05 it does not.
func jsonNumber(text string) json.Number {
	if json.Valid([]byte(text)) {
		return json.Number(text)
	}
	value, _ := strconv.ParseFloat(text, 64) // whoever scored it has read it the same way; what is too small is 0
	return json.Number(strconv.FormatFloat(value, 'g', -1, 64))
}

func (w *rowsAsJSON) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, after, whole := bytes.Cut(w.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		cells := strings.Split(string(line), ",")
		w.rest = append([]byte(nil), after...)
		if !w.header || len(cells) != 3 {
			w.header = true
			continue
		}
		row := scoredRow{Timestamp: cells[0]}
		if cells[2] != "" {
			value, score := jsonNumber(cells[1]), json.Number(cells[2])
			row.Value, row.Score = &value, &score
		}
		if err := json.NewEncoder(w.out).Encode(row); err != nil {
			return 0, err
		}
	}
}
