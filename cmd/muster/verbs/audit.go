package verbs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"muster.dev/cmd/muster/stack"
	"muster.dev/platform/principals"
	"muster.dev/services/registry/audit"
)

func auditing(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "audit", Short: "The registry's log: who did what to which device, and the proof that nobody changed it since"})
	cmd.AddCommand(auditVerify(f), auditExport(f), auditList(f))
	return cmd
}

// every is how often a person is told how far a long walk is.
const every = 2 * time.Second

// pace tells on standard error how far a walk is, when it takes long.
type pace struct {
	f    *frame
	n    uint64
	last time.Time
	end  int64
}

func (f *frame) pace() *pace { return &pace{f: f, last: time.Now()} }

func (p *pace) step() {
	if p.n++; p.n%1024 != 0 || time.Since(p.last) < every {
		return
	}
	p.last = time.Now()
	if p.end > 0 {
		p.f.say("%d records of at most %d", p.n, p.end)
	} else {
		p.f.say("%d records", p.n)
	}
}

// walk reads the local stack's registry log from its start, through a Verifier. follow may name a device, for
// Entry.Concerns; each may be nil.
func (f *frame) walk(ctx context.Context, v *audit.Verifier, follow string, each func(audit.Entry) error) error {
	dir, inst, err := f.running()
	if err != nil {
		return err
	}
	cfg, err := f.logAs(dir, inst, principals.Reader, stack.SecretKafkaReader)
	if err != nil {
		return err
	}
	p, r := f.pace(), audit.NewReader()
	r.Follow(follow)
	return audit.ReadLog(ctx, cfg, audit.LogReader{
		Begin: func(_, end int64) { p.end = end },
		Hole:  v.Hole,
		Record: func(rec audit.Record) error {
			p.step()
			e, linked, err := v.Add(rec)
			if each == nil {
				return nil
			}
			return each(r.Entry(rec, e, linked, err))
		},
	})
}

func auditVerify(f *frame) *cobra.Command {
	var heads []string
	var since, file string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove the registry's log: no event removed, changed, moved, repeated or put in by somebody else, or where",
		Long: "Every event names the SHA-256 of the one before it. This walks from the first to the last and says of each break at which\n" +
			"offset and event it is, what was expected, what stands there and what to do.\n\n" +
			"The chain alone cannot tell that its end was cut off, or that all of it was written anew. Keep its head where who can change\n" +
			"the log cannot: append what --json prints to a file elsewhere, and compare with --since FILE, or --head HASH.\n\n" +
			"Exit codes: 0 in order; 4 a finding.",
		Example: `  muster audit verify
  muster audit verify --json >> /elsewhere/heads.json
  muster audit verify --since /elsewhere/heads.json
  muster audit verify --file registry.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kept, err := keptHeads(heads, since)
			if err != nil {
				return misuse{err}
			}
			var report audit.Report
			if file != "" {
				report, err = f.verifyFile(file, kept)
			} else {
				v := audit.NewVerifier(kept...)
				if err = f.walk(cmd.Context(), v, "", nil); err == nil {
					report = v.Report("the registry's log")
				}
			}
			if err != nil {
				return err
			}
			if f.json {
				err = f.printJSON(report)
			} else {
				_, err = fmt.Fprint(f.Out, report)
			}
			if err == nil && !report.OK() {
				err = finding{fmt.Errorf("%s is not as it was written: the report says where (docs/runbooks/audit-finding.md)", report.Source)}
			}
			return err
		},
	}
	cmd.Flags().StringArrayVar(&heads, "head", nil, "a `HASH` that was the head once and must be in the log; may be repeated")
	cmd.Flags().StringVar(&since, "since", "", "a `FILE` of what verify --json printed before: each of its heads must be in the log")
	cmd.Flags().StringVar(&file, "file", "", "verify an export in `FILE` instead of the log; - is standard input. No stack is needed")
	return cmd
}

func keptHeads(heads []string, since string) (kept []*audit.Kept, err error) {
	for _, h := range heads {
		hash, err := audit.ParseHash(h)
		if err != nil {
			return nil, fmt.Errorf("--head: %w", err)
		}
		kept = append(kept, &audit.Kept{Head: hash})
	}
	if since == "" {
		return kept, nil
	}
	in, err := os.Open(since)
	if err != nil {
		return nil, fmt.Errorf("--since: %w", err)
	}
	defer in.Close()
	more, err := audit.ReadKept(bufio.NewReader(in))
	if err != nil {
		return nil, fmt.Errorf("--since %s: %w; want what `muster audit verify --json` printed before (an export is verified by --file)", since, err)
	}
	return append(kept, more...), nil
}

func (f *frame) verifyFile(name string, kept []*audit.Kept) (audit.Report, error) {
	in := f.In
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return audit.Report{}, misuse{fmt.Errorf("--file: %w", err)}
		}
		defer file.Close()
		in = file
	}
	if in == nil {
		return audit.Report{}, misuse{errors.New("--file -: nothing is on standard input")}
	}
	report, err := audit.VerifyExport(in, name, f.pace().step, kept...)
	if errors.Is(err, audit.ErrExport) {
		err = misuse{fmt.Errorf("--file %s: %w", name, err)}
	}
	return report, err
}

func auditExport(f *frame) *cobra.Command {
	var out, format, from, to string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write every event for an auditor: decoded, with the bytes and the hash that prove it",
		Long: "JSON lines, or CSV for a spreadsheet. muster audit verify --file FILE proves either anywhere, without a stack. JSON lines also\n" +
			"show that the file is whole. What --from and --to leave out is not proved by it.\n\n" +
			"Exit codes: 0 done; 4 it was written, but the log is not in order.",
		Example: `  muster audit export --out registry.jsonl
  muster audit export --format csv --from 2026-11-01 --to 2026-12-01 --out november.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			begin, err := instant("from", from)
			if err != nil {
				return err
			}
			end, err := instant("to", to)
			if err != nil {
				return err
			}
			if audit.Format(format) != audit.JSONL && audit.Format(format) != audit.CSV {
				return misuse{fmt.Errorf("--format %q: want %s or %s", format, audit.JSONL, audit.CSV)}
			}
			var v *audit.Verifier
			var written uint64
			err = f.into(out, func(w io.Writer) error {
				x, err := audit.NewExporter(w, audit.Format(format))
				if err != nil {
					return err
				}
				x.From, x.To = begin, end
				v = audit.NewVerifier()
				if err := f.walk(cmd.Context(), v, "", x.Write); err != nil {
					return err
				}
				written = x.Records()
				return x.Close()
			})
			if err != nil {
				return err
			}
			report := v.Report("the registry's log")
			f.say("%d records exported; the head of the log is %s", written, report.Head)
			if !report.OK() {
				return finding{errors.New("the export is written, but the log is not in order: muster audit verify says where")}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the `FILE` to write, replaced whole when it is done; standard output if none is named")
	cmd.Flags().StringVar(&format, "format", string(audit.JSONL), "jsonl or csv")
	cmd.Flags().StringVar(&from, "from", "", "begin with the first event of this `TIME`, as 2026-11-22 or 2026-11-22T21:30:00Z")
	cmd.Flags().StringVar(&to, "to", "", "end before this `TIME`")
	return cmd
}

// instant reads a day or a time; without a zone it is UTC, as all that is shown.
func instant(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, misuse{fmt.Errorf("--%s %q: want a day as 2026-11-22, or a time as 2026-11-22T21:30:00Z", flag, text)}
}

// into writes a file whole or not at all: it takes its name when all of it is on the disk.
func (f *frame) into(name string, write func(io.Writer) error) error {
	if name == "" {
		return buffered(f.Out, write)
	}
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // its owner's alone
	if err != nil {
		return misuse{fmt.Errorf("--out: %w", err)}
	}
	err = buffered(file, write)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		_ = os.Remove(file.Name()) // what is left of it is nobody's
		return fmt.Errorf("exporting to %s: %w", name, err)
	}
	return nil
}

func buffered(out io.Writer, write func(io.Writer) error) error {
	w := bufio.NewWriterSize(out, 256<<10)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

func auditList(f *frame) *cobra.Command {
	var device, who string
	var types []string
	var since span
	var last int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show who did what, the last of it last",
		Long: "With --device also what was said of the device's cohort while it was in it. --json gives a list of documents; muster audit export\n" +
			"gives each event's bytes and hash as well.",
		Example: `  muster audit list --last 20
  muster audit list --device boiler-7
  muster audit list --type device-revoked,cohort-revoked --since 24h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last < 0 {
				return misuse{fmt.Errorf("--last %d: want 0 or more", last)}
			}
			begin := time.Now().Add(-time.Duration(since))
			var shown []audit.Entry // a ring once it has --last of them
			n := 0
			kinds := map[string]bool{} // that the log has
			v := audit.NewVerifier()
			err := f.walk(cmd.Context(), v, device, func(e audit.Entry) error {
				if e.Type != "" {
					kinds[e.Type], kinds[e.Kind()] = false, true
				}
				switch {
				case device != "" && !e.Concerns(),
					who != "" && e.Who != who,
					len(types) > 0 && !slices.Contains(types, e.Kind()) && !slices.Contains(types, e.Type),
					since > 0 && e.Time.Before(begin):
					return nil
				}
				e.Value = nil
				if last > 0 && len(shown) == last {
					shown[n%last] = e
				} else {
					shown = append(shown, e)
				}
				n++
				return nil
			})
			if err != nil {
				return err
			}
			for _, t := range types {
				if _, has := kinds[t]; !has {
					maps.DeleteFunc(kinds, func(_ string, short bool) bool { return !short })
					f.say("the log has no event of type %q; it has: %s", t, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
					break
				}
			}
			if last > 0 && n > last {
				at := n % last
				shown = slices.Concat(shown[at:], shown[:at])
				f.say("the last %d of %d; --last 0 shows all", last, n)
			}
			if err := f.printEntries(shown); err != nil {
				return err
			}
			if !v.Report("").OK() {
				f.say("the log is not in order: muster audit verify says where")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&device, "device", "", "only what is about the device `NAME`, or about its cohort")
	cmd.Flags().StringSliceVar(&types, "type", nil, "only events of these `TYPES`, as device-revoked")
	cmd.Flags().StringVar(&who, "who", "", "only what was done by `WHO`")
	cmd.Flags().Var(&since, "since", "only what is at most this old: 30m, 12h, 7d")
	cmd.Flags().IntVar(&last, "last", 50, "at most the last `N`; 0 is all")
	return cmd
}

func (f *frame) printEntries(list []audit.Entry) error {
	if f.json {
		if list == nil {
			list = []audit.Entry{}
		}
		return f.printJSON(list)
	}
	if len(list) == 0 {
		f.say("no such event")
		return nil
	}
	return buffered(f.Out, func(w io.Writer) error {
		for _, e := range list {
			if _, err := fmt.Fprintln(w, e); err != nil {
				return fmt.Errorf("writing to standard output: %w", err)
			}
		}
		return nil
	})
}
