package verbs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// exceptionHeader carries the engine's error code; an answer that has it is no answer.
const exceptionHeader = "X-ClickHouse-Exception-Code"

// patience is how long a query is silent before a person is told that it still runs.
const patience = 5 * time.Second

func query(f *frame) *cobra.Command {
	var format string
	var parameters []string
	cmd := &cobra.Command{
		Use:   "query [SQL]",
		Short: "Ask the warehouse as an analyst does: read only, within the analysts' limits",
		Long: "Without SQL, or with -, the query is read from standard input. As in clickhouse-client, a query may end with a FORMAT\n" +
			"of its own or with \\G, which shows each row upright.\n\n" +
			"Exit codes: 0 answered; 1 the warehouse refused or failed, and nothing of an answer was printed; 3 no stack runs.",
		Example: `  muster query "SELECT device, count() FROM samples GROUP BY device ORDER BY device"
  muster query --format CSVWithNames "SELECT * FROM samples WHERE device = 'sim-0001' LIMIT 10"
  muster query --param device=sim-0001 "SELECT max(ts) FROM samples WHERE device = {device:String}"
  muster query < docs/queries/storage-per-table.sql`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sql, err := f.sql(args)
			if err != nil {
				return err
			}
			_, inst, err := f.running()
			if err != nil {
				return err
			}
			upright := strings.HasSuffix(sql, `\G`)
			if upright {
				sql = strings.TrimSuffix(sql, `\G`)
			}
			if format == "" {
				switch {
				case f.json:
					format = "JSONEachRow"
				case upright:
					format = "Vertical"
				default:
					format = "PrettyCompactMonoBlock"
				}
			}
			params := url.Values{"database": {"muster"}, "default_format": {format}}
			if f.json && format == "JSONEachRow" {
				params.Set("output_format_json_array_of_rows", "1")
			}
			for _, p := range parameters {
				name, value, ok := strings.Cut(p, "=")
				if !ok || name == "" {
					return misuse{fmt.Errorf("--param %s: want NAME=VALUE, for {NAME:Type} in the query", p)}
				}
				params.Set("param_"+name, value)
			}
			slow := time.AfterFunc(patience, func() {
				f.say("no answer for %s; waiting on. muster status says which parts run", patience)
			})
			defer slow.Stop()
			return ask(cmd.Context(), inst.Ports.ClickHouseURL(), params, sql, f.Out)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "any output `FORMAT` of ClickHouse, as CSVWithNames, TSV or JSON")
	cmd.Flags().StringArrayVar(&parameters, "param", nil, "`NAME=VALUE` of a parameter that the query has as {NAME:Type}; may be repeated")
	return cmd
}

// sql is the query that the command line names, or standard input has.
func (f *frame) sql(args []string) (string, error) {
	sql := ""
	switch {
	case len(args) > 0 && args[0] != "-":
		sql = args[0]
	case f.In == nil || len(args) == 0 && terminal(f.In): // nobody types it there
	default:
		raw, err := io.ReadAll(io.LimitReader(f.In, queryLimit+1))
		if err != nil {
			return "", misuse{fmt.Errorf("reading the query from standard input: %w", err)}
		}
		if len(raw) > queryLimit {
			return "", misuse{fmt.Errorf("the query on standard input is longer than %d bytes", queryLimit)}
		}
		sql = string(raw)
	}
	if sql = strings.TrimSpace(sql); sql == "" {
		return "", misuse{errors.New("the query is empty: name one, as muster query \"SELECT count() FROM samples\", or give it on standard input")}
	}
	return sql, nil
}

// queryLimit is far above what the engine parses by default.
const queryLimit = 1 << 20

// terminal is whether in is a device, behind which a person sits or nothing.
func terminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	if !ok {
		return false
	}
	st, err := file.Stat()
	return err != nil || st.Mode()&os.ModeCharDevice != 0
}

// ask posts a query without credentials and copies the answer to out.
func ask(ctx context.Context, base string, params url.Values, sql string, out io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/?"+params.Encode(), strings.NewReader(sql))
	if err != nil {
		return fmt.Errorf("asking the warehouse: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if ctx.Err() != nil {
		return fmt.Errorf("the query was given up: %w", context.Cause(ctx))
	}
	if err != nil {
		var at *url.Error // the address with all its parameters tells nothing
		if errors.As(err, &at) {
			err = at.Err
		}
		return fmt.Errorf("asking the warehouse: %w (muster status says which parts run)", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get(exceptionHeader) != "" {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if err != nil {
			return fmt.Errorf("reading the warehouse's refusal: %w", err)
		}
		return refusal(string(text))
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}
