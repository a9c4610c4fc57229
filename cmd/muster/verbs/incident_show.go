package verbs

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"muster.dev/fleet/scenario"
	"muster.dev/proto/event"
)

// mostShown bounds what people read; --json has all.
const mostShown = 20

// printStory writes one incident for people; parts are the incidents that it has taken in, d, the drawing of it, may be nil.
func printStory(out io.Writer, s story, parts []string, d *drawing) error {
	i, first := s.last(), &s[0]
	var b strings.Builder
	line := func(name, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" {
			fmt.Fprintf(&b, "%-13s %s\n", name, text)
		}
	}
	fmt.Fprintf(&b, "%s\n%s\n\n", i.Title, i.Why)
	line("incident", "%s, %s, %s", i.ID, i.State, i.Severity)
	line("to do", "%s", i.Runbook)
	line("kind", "%s", string(i.Kind))
	line("cause", "%s", i.Cause)
	line("about", "%s", aboutWhat(i.Subject))
	line("since", "%s UTC", minute(i.Since))
	line("told", "%s UTC, %s after", minute(first.At), scenario.FormatSpan((time.Duration(first.At-first.Since) * time.Millisecond).Round(time.Second)))
	if i.ResolvedAt != 0 {
		line("resolved", "%s UTC, after %s", minute(i.ResolvedAt), lasted(i, time.Now()))
	}
	if i.Reopened > 0 {
		line("reopened", "%d times", i.Reopened)
	}
	if i.Acked.Who != "" {
		line("acknowledged", "by %s, %s UTC", i.Acked.Who, minute(i.Acked.At))
	}
	line("takes in", "%s", strings.Join(parts, ", "))
	line("detector", "%s", i.Detector)
	if d != nil {
		d.print(&b, i)
	}
	printNumbers(&b, i)
	devices := s.devices()
	if len(devices) > 0 {
		fmt.Fprintf(&b, "\ndevices (%d)\n", max(int(i.Count), len(devices)))
		for _, m := range devices[:min(len(devices), mostShown)] {
			fmt.Fprintf(&b, "  %-24s since %s  %s\n", m.ID, minute(m.Since), strings.Join(marksShown(m.Marks), ", "))
		}
		if more := len(devices) - mostShown; more > 0 {
			fmt.Fprintf(&b, "  and %d more: --json has all that are named\n", more)
		}
	}
	printEvidence(&b, i.Evidence)
	b.WriteString("\nwhat was said\n")
	for n := range s {
		r := &s[n]
		news := ""
		if r.Acked.Who != "" && (n == 0 || s[n-1].Acked.Who == "") {
			news = ", " + r.Acked.Who + " took it on"
		}
		if n > 0 && r.Reopened > s[n-1].Reopened {
			news += ", opened again"
		}
		fmt.Fprintf(&b, "  %s  %-8s  %-9s %5d devices  %s%s\n", minute(r.At), r.State, r.Severity, r.Count, r.Cause, news)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// devices are those that the last record names, or the one before its end.
func (s story) devices() []event.Member {
	for n := len(s) - 1; n >= 0; n-- {
		if len(s[n].Devices) > 0 {
			return s[n].Devices
		}
	}
	return nil
}

// printNumbers puts what was measured beside what it was held against.
func printNumbers(b *strings.Builder, i *event.Incident) {
	if len(i.Numbers)+len(i.Thresholds) == 0 {
		return
	}
	value := func(list []event.Number, name string) string {
		if n := slices.IndexFunc(list, func(n event.Number) bool { return n.Name == name }); n >= 0 {
			return strconv.FormatFloat(float64(list[n].Micro)/1e6, 'f', -1, 64)
		}
		return ""
	}
	fmt.Fprintf(b, "\n%-26s %14s %14s\n", "", "numbers", "thresholds")
	row := func(n event.Number) {
		text := fmt.Sprintf("  %-24s %14s %14s %s", n.Name, value(i.Numbers, n.Name), value(i.Thresholds, n.Name), n.Unit)
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	for _, n := range i.Numbers {
		row(n)
	}
	for _, n := range i.Thresholds {
		if value(i.Numbers, n.Name) == "" {
			row(n)
		}
	}
}

// printEvidence writes a line for each topic.
func printEvidence(b *strings.Builder, evidence []event.Range) {
	var topics []string
	parts := map[string][]string{}
	for _, e := range evidence {
		if e.From >= e.To {
			continue // it only says how far was read
		}
		if parts[e.Topic] == nil {
			topics = append(topics, e.Topic)
		}
		parts[e.Topic] = append(parts[e.Topic], fmt.Sprintf("%d: %d to %d", e.Part, e.From, e.To))
	}
	if len(topics) == 0 {
		return
	}
	b.WriteString("\nevidence, the offsets of each partition, the last one exclusive\n")
	for _, topic := range topics {
		p, more := parts[topic], ""
		if len(p) > mostShown {
			more = fmt.Sprintf(", and %d partitions more: --json has all", len(p)-mostShown)
		}
		fmt.Fprintf(b, "  %-20s %s%s\n", topic, strings.Join(p[:min(len(p), mostShown)], ", "), more)
	}
}
