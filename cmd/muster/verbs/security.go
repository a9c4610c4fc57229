package verbs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/client"
)

func security(f *frame) *cobra.Command {
	return &cobra.Command{
		Use:   "security",
		Short: "How well the fleet's identities are kept: ages, rotation, ways of enrolment, and what wants somebody's hand",
		Long: "Signs that one identity is two devices, and refused attempts, are those of the last 7 days that the warehouse has; signs of a\n" +
			"device that is revoked are left out. docs/runbooks/compromised-device.md says what to do.",
		Args: cobra.NoArgs,
		RunE: f.onRegistry(func(ctx context.Context, reg *client.Client, _ []string) error {
			s, err := reg.Security(ctx)
			if err != nil {
				return err
			}
			seen, err := f.seenSigns(ctx)
			if err != nil {
				f.say("signs of cloned identities and refused attempts are not among the findings: %v", err)
			}
			s.Findings = append(s.Findings, seen...)
			if f.json {
				return f.printJSON(s)
			}
			return f.printSecurity(s)
		}),
	}
}

// signsWait is how long a stalled warehouse keeps what the registry says from being shown.
const signsWait = 5 * time.Second

// seenSigns are the findings that only the warehouse has: what gateways and the registry saw.
func (f *frame) seenSigns(ctx context.Context) ([]v1.Finding, error) {
	_, inst, err := f.running()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, signsWait)
	defer cancel()
	const sql = `SELECT kind AS finding,
    if(kind = 'clone-sign', 'one identity looked like two: docs/runbooks/compromised-device.md', 'attempts were refused: muster audit list --type attempt-refused') AS detail,
    toUInt32(uniqExact(device)) AS count, arraySlice(arraySort(groupUniqArray(device)), 1, 10) AS devices
FROM security_findings
WHERE kind = 'refused' OR kind = 'clone-sign' AND device NOT IN (SELECT device FROM devices WHERE revoked)
GROUP BY kind ORDER BY kind`
	var answer bytes.Buffer
	params := url.Values{"database": {"muster"}, "default_format": {"JSONEachRow"}, "output_format_json_array_of_rows": {"1"}}
	if err := ask(ctx, inst.Ports.ClickHouseURL(), params, sql, &answer); err != nil {
		return nil, err
	}
	var found []v1.Finding
	if err := json.Unmarshal(answer.Bytes(), &found); err != nil {
		return nil, fmt.Errorf("the warehouse's answer: %w", err)
	}
	return found, nil
}

func (f *frame) printSecurity(s v1.Security) error {
	var ways []string
	for _, way := range slices.Sorted(maps.Keys(s.Enrolments)) {
		ways = append(ways, fmt.Sprintf("%s %d", way, s.Enrolments[way]))
	}
	ages := func(q v1.Quantiles, of func(v1.Quantiles) []int64) string {
		if q.Count == 0 {
			return "-"
		}
		var out []string
		for _, seconds := range of(q) {
			out = append(out, about(seconds))
		}
		return strings.Join(out, " / ")
	}
	fmt.Fprintf(f.Out, "devices            %d, %d of them quarantined; %d revoked\n", s.Devices, s.Quarantined, s.Revoked)
	fmt.Fprintf(f.Out, "enrolled by        %s\n", strings.Join(ways, ", "))
	fmt.Fprintf(f.Out, "rotated in time    %.1f %% of %d recorded certificates\n", 100*s.InTime, s.AgeSeconds.Count)
	fmt.Fprintf(f.Out, "certificate age    %s (p50 / p90 / p99 / oldest)\n", ages(s.AgeSeconds, func(q v1.Quantiles) []int64 { return []int64{q.P50, q.P90, q.P99, q.Max} }))
	fmt.Fprintf(f.Out, "time left          %s (least / p50)\n", ages(s.LeftSeconds, func(q v1.Quantiles) []int64 { return []int64{q.Min, q.P50} }))
	if len(s.Findings) == 0 {
		_, err := fmt.Fprintln(f.Out, "\nno findings")
		return err
	}
	fmt.Fprintln(f.Out)
	return table(f.Out, "FINDING\tCOUNT\tWHAT\tDEVICES", func(row func(...any)) {
		for _, x := range s.Findings {
			row(x.Finding, x.Count, x.Detail, strings.Join(x.Devices, " "))
		}
	})
}

// about is a length of time to one unit.
func about(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case d.Abs() >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d.Abs() >= 2*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}
