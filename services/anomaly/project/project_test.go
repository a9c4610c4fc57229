package project

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/judgetest"
)

func TestMain(m *testing.M) {
	code := warehousetest.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString("goroutines are left: " + err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// patience is how long a test waits where no time is promised.
const patience = 3 * time.Minute

const began = 1_795_000_000_000 // Unix ms

// silent is the incident of a cohort, as a revision of it says.
func silent(cohort int, revision uint32) event.Incident {
	i := event.Incident{
		ID: fmt.Sprintf("iaaaaaaaa%s", four(cohort)), State: event.IncidentOpen, Kind: event.SilentCohort, Severity: event.SeverityCritical,
		Title: "3 of 10 devices are silent", Cause: "power", Subject: event.Subject{Cohort: fmt.Sprintf("c%d", cohort), Region: "eu"},
		Since: began, At: began + 60_000*int64(revision), Revision: revision, Count: 3,
		Devices:    []event.Member{{ID: "pump-1", No: 1, Since: began - 5_000, Marks: 1 | 4}, {ID: "pump-2", No: 2, Since: began}},
		Numbers:    []event.Number{{Name: "missing", Micro: 3_000_000}, {Name: "p", Micro: 51_234, Unit: "share"}},
		Thresholds: []event.Number{{Name: "alpha", Micro: -1}},
		Evidence:   []event.Range{{Topic: record.TopicTelemetry, Part: 0, From: 10, To: 90}, {Topic: record.TopicEvents, Part: 0, From: 1, To: 2}},
		Detector:   "silence-v1-00c0ffee", Runbook: "https://muster.dev/runbooks/silent-cohort", Why: "it's \"quiet\"",
	}
	return i
}

func resolved(i event.Incident) event.Incident {
	i.Revision++
	i.At += 60_000
	i.State, i.ResolvedAt = event.IncidentResolved, i.At
	return i
}

func four(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	b := []byte("aaaa")
	for i := range b {
		b[3-i] = letters[n%32]
		n /= 32
	}
	return string(b)
}

var design = event.RolloutDesign{AlphaPPM: 10_000, BetaPPM: 50_000, MarginPermille: 2_000, InstallPPM: 50_000, TickMS: 60_000, MinExposureMS: 1}

func verdict(stage uint8) event.Verdict {
	return event.Verdict{Rollout: "fw-2", Stage: stage, Verdict: event.VerdictFail, At: began + 7, Final: true, Effect: 5_500_000, Low: 2_000_000, High: 9_000_000,
		EFail: 2_100_000, Treated: 50, Control: 200, FailedTreated: 12, FailedControl: 2, ExposureMS: 1_800_000 * 60, Smallest: 2_400_000,
		EDrawn: 3_400_000, DrawnTreated: 60, DrawnControl: 240, DrawnFailedTreated: 15, DrawnFailedControl: 3, EHealth: -500_000, ComparedTreated: 40, ComparedControl: 190,
		Kinds: []event.KindCount{{Kind: "crash", Treated: 10, Control: 1}, {Kind: "silence", Treated: 2, Control: 1}}, Devices: []event.Member{{ID: "pump-9", No: 9, Since: began}},
		Evidence: []event.Range{{Topic: record.TopicEvents, From: 5, To: 6}}, Design: design, Incident: silent(7, 1).ID, Detector: "update-v1-00c0ffee", Why: "crashes"}
}

// projecting is a projection at work.
type projecting struct {
	*Projection
	stop func()
}

func project(t testing.TB, j *judgetest.Judge, w *warehouse.Warehouse) *projecting {
	t.Helper()
	p := New(Settings{Log: j.Config, Store: w, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Check: 100 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	out := &projecting{p, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})}
	t.Cleanup(out.stop)
	return out
}

// settled waits until the tables hold the last record.
func settled(t testing.TB, j *judgetest.Judge, w *warehouse.Warehouse) {
	t.Helper()
	warehousetest.Shows(t, w, "SELECT toString(max(off)) FROM (SELECT off FROM muster.incident_rows UNION ALL SELECT off FROM muster.verdict_rows)", fmt.Sprint(j.Last))
}

// everything is what a user reads.
func everything(t testing.TB, w *warehouse.Warehouse) string {
	return strings.Join(slices.Concat(
		warehousetest.Column(t, w, "SELECT toString(tuple(*)) FROM muster.incidents ORDER BY n"),
		warehousetest.Column(t, w, "SELECT toString(tuple(*)) FROM muster.incident_history ORDER BY n"),
		warehousetest.Column(t, w, "SELECT toString(tuple(*)) FROM muster.verdicts ORDER BY n"),
		warehousetest.Column(t, w, "SELECT toString(tuple(*)) FROM muster.evidence ORDER BY n, idx")), "\n")
}

func TestATableShowsWhatARecordSays(t *testing.T) {
	j, w := judgetest.Start(t, kafka.Config{}), warehousetest.Start(t)
	project(t, j, w)
	taken := silent(1, 2)
	taken.Acked = event.Ack{Who: "ann", At: began + 100_000}
	j.Say(t, silent(1, 1), silent(2, 1), taken, resolved(silent(2, 1)), verdict(1))
	settled(t, j, w)
	warehousetest.Shows(t, w, "SELECT toString(tuple(id, state, kind, cause, severity, cohort, region, toUnixTimestamp64Milli(since), toUnixTimestamp64Milli(updated_at), toUnixTimestamp64Milli(resolved_at), revision, affected, acked_by, toUnixTimestamp64Milli(acked_at), n)) FROM muster.incidents ORDER BY id",
		fmt.Sprintf("('iaaaaaaaaaaab','open','silent-cohort','power','critical','c1','eu',%d,%d,NULL,2,3,'ann',%d,3)", began, began+120_000, began+100_000),
		fmt.Sprintf("('iaaaaaaaaaaac','resolved','silent-cohort','power','critical','c2','eu',%d,%d,%d,2,3,'',NULL,4)", began, began+120_000, began+120_000))
	warehousetest.Shows(t, w, "SELECT toString(tuple(title, why, devices.device, devices.marks, toUnixTimestamp64Milli(devices.since[1]), numbers, thresholds, units, detector, runbook)) FROM muster.incidents WHERE cohort = 'c1'",
		fmt.Sprintf(`('3 of 10 devices are silent','it\'s "quiet"',['pump-1','pump-2'],[['power','updated'],[]],%d,{'missing':3,'p':0.051234},{'alpha':-0.000001},{'p':'share'},'silence-v1-00c0ffee','https://muster.dev/runbooks/silent-cohort')`, began-5_000))
	warehousetest.Shows(t, w, "SELECT toString(tuple(n, id, revision, state)) FROM muster.incident_history ORDER BY n",
		"(1,'iaaaaaaaaaaab',1,'open')", "(2,'iaaaaaaaaaaac',1,'open')", "(3,'iaaaaaaaaaaab',2,'open')", "(4,'iaaaaaaaaaaac',2,'resolved')")
	warehousetest.Shows(t, w, "SELECT toString(tuple(n, rollout, stage, verdict, final, effect, low, high, e_fail, treated, failed_treated, exposure_min, kinds, devices, incident)) FROM muster.verdicts",
		"(5,'fw-2',1,'fail',true,5.5,2,9,2.1,50,12,1800,[('crash',10,1),('silence',2,1)],['pump-9'],'iaaaaaaaaaaah')")
	warehousetest.Shows(t, w, "SELECT toString(tuple(e_drawn, e_health, drawn_treated, drawn_control, drawn_failed_treated, drawn_failed_control, compared_treated, compared_control)) FROM muster.verdicts",
		"(3.4,-0.5,60,240,15,3,40,190)")
	warehousetest.Shows(t, w, "SELECT toString(tuple(n, idx, incident, rollout, topic, part, from_off, to_off)) FROM muster.evidence WHERE n IN (3, 5) ORDER BY n, idx",
		"(3,0,'iaaaaaaaaaaab','','muster.telemetry.v1',0,10,90)", "(3,1,'iaaaaaaaaaaab','','muster.events.v1',0,1,2)", "(5,0,'iaaaaaaaaaaah','fw-2','muster.events.v1',0,5,6)")
}

func TestItGoesOnFromWhatTheTablesHoldAndDoublesNothing(t *testing.T) {
	j, w := judgetest.Start(t, kafka.Config{}), warehousetest.Start(t)
	p := project(t, j, w)
	j.Say(t, silent(1, 1), verdict(1))
	j.Say(t, silent(2, 1))
	settled(t, j, w)
	p.stop()
	j.Say(t, silent(1, 2))
	j.Say(t, verdict(2), silent(3, 1), resolved(silent(2, 1)))
	again := project(t, j, w)
	settled(t, j, w)
	again.stop()
	for of, want := range map[table]float64{incidentRows: 3, verdictRows: 1, evidenceRows: 7} {
		if n := testutil.ToFloat64(again.m.rows.WithLabelValues(string(of))); n != want {
			t.Errorf("%v rows of %s were sent after the restart, want %v", n, of, want)
		}
	}
	warehousetest.Shows(t, w, "SELECT toString(tuple(count(), uniqExact(n), max(n))) FROM muster.incident_rows", "(5,5,7)")
	warehousetest.Shows(t, w, "SELECT toString(tuple(count(), uniqExact(id))) FROM muster.incidents", "(3,3)")
}

// A process that was killed may have sent rows of one table and not of the next, or not heard that they landed.
func TestWhatAKilledOneLeftIsCompletedAndShownOnce(t *testing.T) {
	j, w := judgetest.Start(t, kafka.Config{}), warehousetest.Start(t)
	j.Say(t, verdict(1), silent(1, 1))
	j.Say(t, silent(2, 1), verdict(2))
	before := ""
	for n, interrupted := range []struct{ verdicts, evidence, incidents bool }{{}, {verdicts: true}, {verdicts: true, evidence: true}, {true, true, true}} {
		for _, of := range []table{incidentRows, verdictRows, evidenceRows} {
			if err := w.Conn().Exec(t.Context(), "TRUNCATE TABLE "+w.Database()+"."+string(of)); err != nil {
				t.Fatal(err)
			}
		}
		dead := New(Settings{Log: j.Config, Store: w, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		g := newGathering(positions{-1, -1, -1})
		all := []*kgo.Record{}
		if err := eventlog.Tail(t.Context(), j.Config, eventlog.TailSettings{Topics: []string{record.TopicIncidents}}, func(r *kgo.Record) error { all = append(all, r); return nil }); err != nil {
			t.Fatal(err)
		}
		for _, rec := range all[:3] {
			g.add(rec, dead.m)
		}
		for _, part := range []struct {
			sent  bool
			reset func()
		}{{interrupted.verdicts, g.verdicts.Reset}, {interrupted.evidence, g.evidence.Reset}, {interrupted.incidents, g.incidents.Reset}} {
			if !part.sent {
				part.reset()
			}
		}
		if err := dead.flush(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		p := project(t, j, w)
		settled(t, j, w)
		warehousetest.Shows(t, w, "SELECT toString(tuple((SELECT count() FROM muster.incident_rows), (SELECT count() FROM muster.verdict_rows), (SELECT count() FROM muster.evidence_rows)))", "(2,2,6)")
		p.stop()
		if now := everything(t, w); n == 0 {
			before = now
		} else if now != before {
			t.Errorf("after the death %+v\n%s\nwant\n%s", interrupted, now, before)
		}
	}
}

func TestRowsThatLandedTwiceAreShownOnce(t *testing.T) {
	j, w := judgetest.Start(t, kafka.Config{}), warehousetest.Start(t)
	p := project(t, j, w)
	j.Say(t, silent(1, 1), verdict(1), silent(1, 2))
	settled(t, j, w)
	before := everything(t, w)
	p.stop()
	for _, of := range []table{incidentRows, verdictRows, evidenceRows} {
		name := w.Database() + "." + string(of)
		if err := w.Conn().Exec(t.Context(), "INSERT INTO "+name+" SELECT * FROM "+name); err != nil {
			t.Fatal(err)
		}
	}
	if after := everything(t, w); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

func TestTablesThatAreLostAreFilledAgain(t *testing.T) {
	j, w := judgetest.Start(t, kafka.Config{}), warehousetest.Start(t)
	p := project(t, j, w)
	j.Say(t, silent(1, 1), verdict(1), silent(1, 2))
	settled(t, j, w)
	before := everything(t, w)
	for _, of := range []table{incidentRows, verdictRows, evidenceRows} { // while it works
		if err := w.Conn().Exec(t.Context(), "TRUNCATE TABLE "+w.Database()+"."+string(of)); err != nil {
			t.Fatal(err)
		}
		warehousetest.Shows(t, w, "SELECT toString(tuple((SELECT count() FROM muster.incidents), (SELECT count() FROM muster.verdicts), (SELECT count() FROM muster.evidence)))", "(1,1,5)")
	}
	if testutil.ToFloat64(p.m.failed) == 0 {
		t.Error("the loss was not counted")
	}
	if err := w.DropAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); testutil.ToFloat64(p.m.failed) < 6; <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("tables that are not there were not noticed")
		}
	}
	if p.m.behind.Load() == 0 {
		t.Error("it does not say that it is behind")
	}
	if err := w.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	settled(t, j, w)
	if after := everything(t, w); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	for end := time.Now().Add(patience); p.m.behind.Load() != 0; <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it says that it is behind, and is not")
		}
	}
}

func TestARecordThatCannotBeReadHoldsNothingUp(t *testing.T) {
	j, w := judgetest.Start(t, kafka.Config{}), warehousetest.Start(t)
	p := project(t, j, w)
	j.Append(t, &kgo.Record{Topic: record.TopicIncidents, Value: []byte{0xc1}, Headers: []kgo.RecordHeader{{Key: record.HeaderType, Value: []byte(event.TypeIncidentOpened)}}},
		&kgo.Record{Topic: record.TopicIncidents, Value: []byte("x"), Headers: []kgo.RecordHeader{{Key: record.HeaderType, Value: []byte(event.TypeVerdict)}}})
	j.Say(t, silent(1, 1))
	settled(t, j, w)
	if n := testutil.ToFloat64(p.m.unreadable); n < 2 {
		t.Errorf("%v unreadable records, want 2", n)
	}
}

func TestANumberIsWrittenWithItsOwnDigits(t *testing.T) {
	for micro, want := range map[int64]string{0: "0", 1: "0.000001", -1: "-0.000001", 1_000_000: "1", -2_500_000: "-2.5", 123_456_789: "123.456789", 1<<63 - 1: "9223372036854.775807", -1 << 63: "-9223372036854.775808"} {
		if got := decimal(micro); got != want {
			t.Errorf("%d millionths are %s, want %s", micro, got, want)
		}
	}
}
