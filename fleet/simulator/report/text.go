package report

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Text is the report for a person, in lines of at most some 110 columns.
func (r Report) Text() string {
	var b strings.Builder
	r.head(&b)
	r.heard(&b)
	r.rollCall(&b)
	r.messages(&b)
	r.gaps(&b)
	r.lag(&b)
	r.bytes(&b)
	r.verdict(&b)
	return b.String()
}

func (r Report) lines() []Line {
	if len(r.Cohorts) == 1 {
		return r.Cohorts
	}
	return append(slices.Clip(r.Cohorts), r.Total)
}

func (r Report) head(b *strings.Builder) {
	const date = "2006-01-02"
	fmt.Fprintf(b, "DELIVERY REPORT  %s, seed %d\n", r.Scenario, r.Seed)
	fmt.Fprintf(b, "%s in %s, ", count(r.Total.Devices, "device"), count(len(r.Cohorts), "cohort"))
	if r.Mode != "fast" {
		fmt.Fprintf(b, "%s to %s, in real time through the gateway\n", r.Begins.Format(date+" 15:04:05"), r.Until.Format("15:04:05"))
		return
	}
	fmt.Fprintf(b, "%s to %s (%s), in fast time: on the log after %s (%s x real time), in the store after %s\n",
		r.Begins.Format(date), r.Until.Format(date), span(r.Until.Sub(r.Begins).Seconds()), span(r.Took), number(int(r.Speed)), span(r.Settled))
}

func (r Report) heard(b *strings.Builder) {
	b.WriteString("\nHEARD of what was due: device-intervals, without planned sleep\n")
	table(b, func(t *tabwriter.Writer) {
		for _, l := range r.lines() {
			if l.Due == 0 {
				fmt.Fprintf(t, "  %s\t%s\tnothing was due yet\t\t\t\n", l.Cohort, count(l.Devices, "device"))
				continue
			}
			share := float64(l.Heard) / float64(l.Due)
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s of %s\t\n", l.Cohort, count(l.Devices, "device"), bar(share), percent(share), number(l.Heard), number(l.Due))
		}
	})
	if r.Total.Due == 0 {
		return
	}
	if r.Total.Heard < r.Total.Due {
		var parts []string
		for _, g := range r.Total.Gaps {
			if g.Class != Planned {
				parts = append(parts, fmt.Sprintf("%s %.2f %%", g.Class, 100*float64(g.Missed)/float64(r.Total.Due)))
			}
		}
		fmt.Fprintf(b, "  not heard, by whose it is: %s\n", strings.Join(parts, ", "))
	}
	if n := len(r.NeverHeard); n > 0 {
		few := strings.Join(r.NeverHeard[:min(n, named)], ", ")
		if n > named {
			few += ", ..."
		}
		fmt.Fprintf(b, "  never heard: %s: %s\n", count(n, "device"), few)
	}
}

// bar draws a share in twenty blocks, of which the last is drawn by eighths.
func bar(share float64) string {
	const width = 20
	eighths := int(share*width*8 + 0.5)
	s := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		s += string([]rune(" ▏▎▍▌▋▊▉")[rest])
	}
	return s + strings.Repeat("·", width-len([]rune(s)))
}

// cells are the heights of a day in the roll call, by what was heard at least.
var cells = []struct {
	least float64
	cell  string
}{{0.995, "█"}, {0.97, "▇"}, {0.94, "▆"}, {0.9, "▅"}, {0.8, "▄"}, {0.6, "▃"}, {0.3, "▂"}, {1e-9, "▁"}, {0, "·"}, {-1, " "}}

func (r Report) rollCall(b *strings.Builder) {
	if len(r.Total.Days) < 2 {
		return
	}
	b.WriteString("\nROLL CALL, a column a day: █ 99.5 % heard and more, ▇ 97, ▆ 94, ▅ 90, ▄ 80, ▃ 60, ▂ 30, ▁ less, · nobody\n")
	table(b, func(t *tabwriter.Writer) {
		for _, l := range r.lines() {
			fmt.Fprintf(t, "  %s\t", l.Cohort)
			for d, share := range l.Days {
				if d > 0 && d%7 == 0 {
					fmt.Fprint(t, " ")
				}
				for _, c := range cells {
					if share >= c.least {
						fmt.Fprint(t, c.cell)
						break
					}
				}
			}
			fmt.Fprintln(t, "\t")
		}
	})
}

// reasons are the store's words for why a value is in quarantine, in those of a person.
var reasons = map[string]string{
	"time_past":   "by the device's clock it is more than 30 days old (time_past)",
	"time_future": "by the device's clock it is more than 10 minutes to come (time_future)",
}

func (r Report) messages(b *strings.Builder) {
	b.WriteString("\nMESSAGES of readings; late is more than an interval after the newest of them, suppressed is stored once though it came again\n")
	table(b, func(t *tabwriter.Writer) {
		fmt.Fprintln(t, "  \tmade\tlost\tstill held\tarrived\tlate\tsent again\tsuppressed\tvalues stored\tvalues quarantined\t")
		for _, l := range r.lines() {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", l.Cohort, number(l.Made), number(l.Lost), number(l.Waiting), number(l.Arrived),
				number(l.Late), number(l.Again), number(l.Duplicates), number(l.Values), number(l.Faults))
		}
	})
	for _, q := range r.Quarantine {
		fmt.Fprintf(b, "  in quarantine: %s of %s: %s\n", count(q.Values, "value"), count(q.Devices, "device"), or(reasons[q.Reason], q.Reason))
	}
	if l := r.Total; l.Cloned+l.Refused+l.Conflicts+l.Quarantined > 0 {
		fmt.Fprintf(b, "  besides: %s under another's identity, %s refused after a revocation, %s in conflict, %s quarantined whole\n",
			number(l.Cloned), number(l.Refused), number(l.Conflicts), number(l.Quarantined))
	}
}

func (r Report) gaps(b *strings.Builder) {
	b.WriteString("\nSILENCES of more than an interval and a half, by whose they are: how many, device-intervals\n")
	table(b, func(t *tabwriter.Writer) {
		fmt.Fprint(t, "  \t")
		for _, c := range Classes() {
			fmt.Fprintf(t, "%s\t", c)
		}
		fmt.Fprintln(t)
		for _, l := range r.lines() {
			fmt.Fprintf(t, "  %s\t", l.Cohort)
			for _, g := range l.Gaps {
				if g.Count == 0 {
					fmt.Fprint(t, "-\t")
					continue
				}
				fmt.Fprintf(t, "%s, %s\t", number(g.Count), number(g.Missed))
			}
			fmt.Fprintln(t)
		}
	})
	for _, g := range r.Total.Gaps {
		if g.Count > 0 {
			fmt.Fprintf(b, "  longest, %s: %s of %s from %s (%s)\n", g.Class, span(g.Longest), g.Device, g.At, or(g.Kind, "nothing in the truth explains it"))
		}
	}
}

func (r Report) lag(b *strings.Builder) {
	b.WriteString("\nLAG from the newest reading of a message, by the device's clock, to the gateway, in the simulation's time\n")
	table(b, func(t *tabwriter.Writer) {
		fmt.Fprintln(t, "  \thalf within\t99 % within\tall within\t")
		for _, l := range r.lines() {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t\n", l.Cohort, span(l.Lag.P50), span(l.Lag.P99), span(l.Lag.Max))
		}
	})
	if r.RealLag != nil {
		fmt.Fprintf(b, "  from the gateway to the store, by the clock: half within %s, 99 %% within %s, all within %s\n", span(r.RealLag.P50), span(r.RealLag.P99), span(r.RealLag.Max))
	} else {
		b.WriteString("  from the gateway to the store there is none to tell: the records' times are simulated, and the store's are not\n")
	}
}

func (r Report) bytes(b *strings.Builder) {
	b.WriteString("\nBYTES of the messages' bodies; what TLS and HTTP or MQTT add is not counted\n")
	table(b, func(t *tabwriter.Writer) {
		fmt.Fprintln(t, "  \tarrived\ta device and month\ta message\t")
		for _, l := range r.lines() {
			each := 0.0
			if n := l.Arrived + l.Again; n > 0 {
				each = float64(l.Bytes) / float64(n)
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\t%.0f B\t\n", l.Cohort, size(float64(l.Bytes)), size(l.BytesMonth), each)
		}
	})
	if r.Disk.Log == 0 {
		return // the disk is a whole stack's
	}
	fmt.Fprintf(b, "  on the disk: the log %s, the store %s: %.1f B a message, %s a device and month\n",
		size(float64(r.Disk.Log)), size(float64(r.Disk.Store)), r.Disk.PerMessage, size(r.Disk.PerDevice))
}

func (r Report) verdict(b *strings.Builder) {
	c := r.Check
	verdict := "EXACTLY ONCE"
	if !c.OK {
		verdict = "NOT EXACTLY ONCE"
	}
	fmt.Fprintf(b, "\n%s: of %s that arrived, events among them, %s are stored once, %s are missing, %s are stored more than once, %s are stored that nobody sent\n",
		verdict, count(c.Arrived, "message"), number(c.Stored), number(c.Missing), number(c.Doubles), number(c.Unasked))
	if c.Cloned > 0 {
		fmt.Fprintf(b, "  %s devices are not compared: somebody else spoke under their identity\n", number(c.Cloned))
	}
	if len(c.Devices) > 0 {
		fmt.Fprintf(b, "  devices that do not agree: %s\n", strings.Join(c.Devices, ", "))
	}
}

func table(b *strings.Builder, rows func(*tabwriter.Writer)) {
	var padded strings.Builder
	t := tabwriter.NewWriter(&padded, 0, 0, 2, ' ', 0)
	rows(t)
	t.Flush() // a strings.Builder takes everything
	for line := range strings.Lines(padded.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// count says how many there are of something.
func count[N int | uint64](n N, of string) string {
	if n != 1 {
		of += "s"
	}
	return number(n) + " " + of
}

// number writes an integer in groups of three.
func number[N int | int64 | uint64](n N) string {
	s := fmt.Sprint(n)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// percent never says 100 % of what is not whole.
func percent(share float64) string {
	s := fmt.Sprintf("%.2f %%", 100*share)
	if s == "100.00 %" && share < 1 {
		return "99.99 %"
	}
	return s
}

func size(n float64) string {
	for _, u := range []struct {
		name string
		at   float64
	}{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if n >= u.at {
			return fmt.Sprintf("%.1f %s", n/u.at, u.name)
		}
	}
	return fmt.Sprintf("%.0f B", n)
}

// span is a length of time in the two largest units that it has.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	if h := int(d.Hours()) % 24; h > 0 {
		return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, h)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}
