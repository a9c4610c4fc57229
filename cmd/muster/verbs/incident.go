package verbs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/cmd/muster/stack"
	"muster.dev/fleet/scenario"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/principals"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/incident"
)

func incidents(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "incident", Short: "What the detectors found: silent cohorts, failed updates, odd telemetry, runaway cost"})
	cmd.AddCommand(incidentList(f), incidentShow(f), incidentAck(f), incidentReplay(f), incidentExport(f))
	return cmd
}

// story is an incident's records, the first one first.
type story []event.Incident

func (s story) last() *event.Incident { return &s[len(s)-1] }

// told are all incidents' records, by id.
type told map[string]story

// partsOf gives the ids of the incidents that ended because this one has their cause, in order.
func (s story) partsOf(all told) (ids []string) {
	for id, other := range all {
		if i := other.last(); i.State == event.IncidentResolved && strings.HasPrefix(i.Why, incident.PartOf+s.last().ID) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// aboutWhat names what an incident is about, the narrowest last.
func aboutWhat(s event.Subject) string {
	var parts []string
	for _, p := range []string{s.Region, s.Gateway, s.Cohort, s.Rollout, s.Device, s.Metric} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, " / ")
}

// stories reads the detectors' log. It is read from its start: what an incident is, its last record says.
func (f *frame) stories(ctx context.Context) (told, []event.Verdict, error) {
	dir, inst, err := f.running()
	if err != nil {
		return nil, nil, err
	}
	cfg, err := f.logAs(dir, inst, principals.Reader, stack.SecretKafkaReader)
	if err != nil {
		return nil, nil, err
	}
	all, verdicts, err := readStories(ctx, cfg)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("the log of incidents cannot be read: %w; `muster status` says how it stands, and muster query \"SELECT id, title FROM incidents\" what the store has of them", err)
	}
	return all, verdicts, err
}

func readStories(ctx context.Context, cfg eventlog.Config) (told, []event.Verdict, error) {
	all := told{}
	var verdicts []event.Verdict
	err := eventlog.Tail(ctx, cfg, eventlog.TailSettings{Topics: []string{record.TopicIncidents}}, func(r *kgo.Record) error {
		headers := make([]event.Header, len(r.Headers))
		for i, h := range r.Headers {
			headers[i] = event.Header{Key: h.Key, Value: h.Value}
		}
		if event.TypeOf(headers) == event.TypeVerdict {
			v, err := event.DecodeVerdict(headers, r.Value)
			if err == nil {
				verdicts = append(verdicts, v)
			}
			return nil // one of a later release is not this one's to read
		}
		if i, err := event.DecodeIncident(headers, r.Value); err == nil {
			all[i.ID] = append(all[i.ID], i)
		}
		return nil
	})
	return all, verdicts, err
}

// incidentShown is an incident as --json prints it.
type incidentShown struct {
	ID         string              `json:"id"`
	State      string              `json:"state"`
	Severity   string              `json:"severity"`
	Kind       string              `json:"kind"`
	Cause      string              `json:"cause,omitempty"`
	Title      string              `json:"title"`
	Why        string              `json:"why"`
	Subject    map[string]string   `json:"subject"`
	Since      time.Time           `json:"since"`
	At         time.Time           `json:"at"`
	ResolvedAt *time.Time          `json:"resolved_at,omitempty"`
	Revision   uint32              `json:"revision"`
	Reopened   uint32              `json:"reopened,omitempty"`
	Count      uint32              `json:"count"`
	Devices    []memberShown       `json:"devices,omitempty"`
	Numbers    map[string]numShown `json:"numbers,omitempty"`
	Thresholds map[string]numShown `json:"thresholds,omitempty"`
	Evidence   []event.Range       `json:"evidence,omitempty"`
	Detector   string              `json:"detector"`
	Runbook    string              `json:"runbook_url"`
	Acked      *ackShown           `json:"acknowledged,omitempty"`
}

type memberShown struct {
	ID    string    `json:"id"`
	Since time.Time `json:"since"`
	Marks []string  `json:"marks,omitempty"`
}

type numShown struct {
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
}

type ackShown struct {
	Who string    `json:"who"`
	At  time.Time `json:"at"`
}

func milliTime(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func shownOf(i *event.Incident) incidentShown {
	s := incidentShown{
		ID: i.ID, State: i.State, Severity: i.Severity, Kind: string(i.Kind), Cause: i.Cause, Title: i.Title, Why: i.Why, Subject: map[string]string{},
		Since: milliTime(i.Since), At: milliTime(i.At), Revision: i.Revision, Reopened: i.Reopened, Count: i.Count,
		Numbers: numbersShown(i.Numbers), Thresholds: numbersShown(i.Thresholds), Evidence: i.Evidence, Detector: i.Detector, Runbook: i.Runbook,
	}
	for name, value := range map[string]string{
		"cohort": i.Subject.Cohort, "region": i.Subject.Region, "gateway": i.Subject.Gateway, "rollout": i.Subject.Rollout,
		"metric": i.Subject.Metric, "device": i.Subject.Device,
	} {
		if value != "" {
			s.Subject[name] = value
		}
	}
	if i.ResolvedAt != 0 {
		at := milliTime(i.ResolvedAt)
		s.ResolvedAt = &at
	}
	if i.Acked.Who != "" {
		s.Acked = &ackShown{i.Acked.Who, milliTime(i.Acked.At)}
	}
	for _, m := range i.Devices {
		s.Devices = append(s.Devices, memberShown{m.ID, milliTime(m.Since), marksShown(m.Marks)})
	}
	return s
}

func numbersShown(list []event.Number) map[string]numShown {
	out := make(map[string]numShown, len(list))
	for _, n := range list {
		out[n.Name] = numShown{float64(n.Micro) / 1e6, n.Unit}
	}
	return out
}

var markNames = []string{"power", "radio", "updated", "never heard"}

func marksShown(marks uint8) (out []string) {
	for bit, name := range markNames {
		if marks&(1<<bit) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// incidentFilter is what a list may be asked for.
type incidentFilter struct {
	all            bool
	kind, severity string
	cohort         string
	limit          int
}

func (o *incidentFilter) takes(i *event.Incident) bool {
	return (o.all || i.State == event.IncidentOpen) && (o.kind == "" || string(i.Kind) == o.kind) &&
		(o.severity == "" || i.Severity == o.severity) && (o.cohort == "" || i.Subject.Cohort == o.cohort)
}

func incidentList(f *frame) *cobra.Command {
	var o incidentFilter
	cmd := &cobra.Command{
		Use: "list", Short: "The open incidents, the worst first; --all the resolved ones too", Args: cobra.NoArgs,
		Example: "  muster incident list\n  muster incident list --all --kind silent-cohort --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return misuse{err}
			}
			all, _, err := f.stories(cmd.Context())
			if err != nil {
				return err
			}
			return f.printIncidents(o.pick(all), len(all), &o)
		},
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "resolved ones too")
	cmd.Flags().StringVar(&o.kind, "kind", "", "only those of a `KIND`: "+strings.Join(incidentKinds, ", "))
	cmd.Flags().StringVar(&o.severity, "severity", "", "only those of a `SEVERITY`: "+strings.Join(severities, ", "))
	cmd.Flags().StringVar(&o.cohort, "cohort", "", "only those of a `COHORT`")
	cmd.Flags().IntVar(&o.limit, "limit", 100, "at most `N`; 0 is all")
	return cmd
}

var (
	severities    = []string{event.SeverityCritical, event.SeverityWarning, event.SeverityInfo}
	incidentKinds = []string{string(event.SilentCohort), string(event.Pipeline), string(event.UpdateFailure), string(event.TelemetryAnomaly), string(event.Spend), string(event.Security)}
)

func (o *incidentFilter) check() error {
	for _, c := range []struct {
		flag, value string
		want        []string
	}{{"kind", o.kind, incidentKinds}, {"severity", o.severity, severities}} {
		if c.value != "" && !slices.Contains(c.want, c.value) {
			return fmt.Errorf("--%s %q: want one of %s", c.flag, c.value, strings.Join(c.want, ", "))
		}
	}
	if o.limit < 0 {
		return fmt.Errorf("--limit %d: want 0 or more", o.limit)
	}
	return nil
}

// pick gives the incidents as they stand: open ones first, by severity, the latest first.
func (o *incidentFilter) pick(all map[string]story) (out []*event.Incident) {
	for _, s := range all {
		if i := s.last(); o.takes(i) {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b *event.Incident) int {
		return cmp.Or(cmp.Compare(a.State, b.State), cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity)),
			cmp.Compare(b.Since, a.Since), cmp.Compare(a.ID, b.ID))
	})
	if o.limit > 0 && len(out) > o.limit {
		out = out[:o.limit]
	}
	return out
}

func (f *frame) printIncidents(list []*event.Incident, known int, o *incidentFilter) error {
	if len(list) == 0 {
		if f.say("no incident is like that"); known > 0 && !o.all {
			f.say("%d are known: `muster incident list --all` shows the resolved ones", known)
		}
	}
	shown := make([]incidentShown, len(list))
	for i := range list {
		shown[i] = shownOf(list[i])
	}
	return f.show(shown, "ID\tSTATE\tSEVERITY\tKIND\tCAUSE\tABOUT\tSINCE\tLASTED\tDEVICES\tACKNOWLEDGED", func(row func(...any)) {
		for _, i := range list {
			row(i.ID, i.State, i.Severity, string(i.Kind), i.Cause, aboutWhat(i.Subject), minute(i.Since), lasted(i, time.Now()), i.Count, i.Acked.Who)
		}
	})
}

func minute(ms int64) string { return milliTime(ms).Format("2006-01-02 15:04:05") }

// lasted is how long an incident was, or is by now: of one that is open the last record may be hours old.
func lasted(i *event.Incident, now time.Time) string {
	until := i.ResolvedAt
	if until == 0 {
		until = max(i.At, now.UnixMilli())
	}
	return scenario.FormatSpan((time.Duration(until-i.Since) * time.Millisecond).Round(time.Second))
}

func incidentShow(f *frame) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "One incident: what happened, to whom, and the numbers that say so", Args: cobra.ExactArgs(1),
		Example: "  muster incident show i3kq7f2m4x5za",
		RunE: func(cmd *cobra.Command, args []string) error {
			all, _, err := f.stories(cmd.Context())
			if err != nil {
				return err
			}
			s, err := all.find(args[0])
			if err != nil {
				return err
			}
			if f.json {
				revisions := make([]incidentShown, len(s))
				for i := range s {
					revisions[i] = shownOf(&s[i])
				}
				return f.printJSON(revisions)
			}
			return printStory(f.Out, s, s.partsOf(all), f.drawSilence(cmd.Context(), s.last()))
		},
	}
}

// story is that of one incident; an unambiguous beginning of the id is enough.
func (f *frame) story(ctx context.Context, id string) (story, error) {
	all, _, err := f.stories(ctx)
	if err != nil {
		return nil, err
	}
	return all.find(id)
}

func (all told) find(id string) (story, error) {
	if s, ok := all[id]; ok {
		return s, nil
	}
	var near []string
	for known := range all {
		if len(id) >= 3 && strings.HasPrefix(known, id) {
			near = append(near, known)
		}
	}
	slices.Sort(near)
	switch {
	case len(near) == 1:
		return all[near[0]], nil
	case len(near) > 1:
		return nil, misuse{fmt.Errorf("%q is the beginning of %d incidents: %s", id, len(near), strings.Join(near[:min(len(near), 8)], ", "))}
	}
	return nil, misuse{fmt.Errorf("there is no incident %.40q: `muster incident list --all` names the %d that are known", id, len(all))}
}

func incidentAck(f *frame) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use: "ack ID --why REASON", Short: "Take an incident on: it is no more sent to who was woken by it", Args: cobra.ExactArgs(1),
		Example: "  muster incident ack i3kq7f2m4x5za --why \"I am on it\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.story(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			i := s.last()
			switch {
			case i.State == event.IncidentResolved:
				return misuse{fmt.Errorf("incident %s is resolved since %s UTC: there is nothing to take on", i.ID, minute(i.ResolvedAt))}
			case i.Acked.Who != "":
				f.say("%s took it on at %s UTC; it is said again", i.Acked.Who, minute(i.Acked.At))
			}
			reg, _, err := f.registry()
			if err != nil {
				return err
			}
			defer reg.Close()
			done, err := reg.AcknowledgeIncident(cmd.Context(), i.ID, why)
			if err != nil {
				return fmt.Errorf("incident ack: %w", err)
			}
			f.say("%s is acknowledged; the incident says so within seconds", i.ID)
			if f.json {
				return f.printJSON(done)
			}
			return nil
		},
	}
	because(cmd, &why)
	return cmd
}
