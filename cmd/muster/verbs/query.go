package verbs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
	cmd := &cobra.Command{
		Use:   "query SQL",
		Short: "Ask the warehouse as an analyst does: read only, within the analysts' limits",
		Example: `  muster query "SELECT device, count() FROM samples GROUP BY device ORDER BY device"
  muster query --format CSVWithNames "SELECT * FROM samples WHERE device = 'sim-0001' LIMIT 10"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(args[0]) == "" {
				return misuse{errors.New("the query is empty: name one, as muster query \"SELECT count() FROM samples\"")}
			}
			_, inst, err := f.running()
			if err != nil {
				return err
			}
			if format == "" {
				format = "PrettyCompactMonoBlock"
				if f.json {
					format = "JSONEachRow"
				}
			}
			params := url.Values{"database": {"muster"}, "default_format": {format}}
			if f.json && format == "JSONEachRow" {
				params.Set("output_format_json_array_of_rows", "1")
			}
			slow := time.AfterFunc(patience, func() {
				f.say("no answer for %s; waiting on. muster status says which parts run", patience)
			})
			defer slow.Stop()
			return ask(cmd.Context(), inst.Ports.ClickHouseURL(), params, args[0], f.Out)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "any output `FORMAT` of ClickHouse, as CSVWithNames, TSV or JSON")
	return cmd
}

// ask posts a query without credentials and copies the answer to out.
func ask(ctx context.Context, base string, params url.Values, sql string, out io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/?"+params.Encode(), strings.NewReader(sql))
	if err != nil {
		return fmt.Errorf("asking the warehouse: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking the warehouse: %w (muster status says which parts run)", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get(exceptionHeader) != "" {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if err != nil {
			return fmt.Errorf("reading the warehouse's refusal: %w", err)
		}
		return errors.New("the warehouse refused the query: " + strings.TrimSpace(string(text)))
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}
