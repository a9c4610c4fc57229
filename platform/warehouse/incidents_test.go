package warehouse_test

import (
	"slices"
	"strings"
	"testing"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
)

// seedIncidents writes what a detector found of late: one cohort's silence, which was acknowledged and is over, with one row that landed
// twice, another's that goes on, and a rollout's verdict.
func seedIncidents(t testing.TB, w *warehouse.Warehouse) {
	t.Helper()
	rows := `INSERT INTO muster.incident_rows (n, id, at, state, kind, cause, severity, title, cohort, region, since, resolved_at, revision, affected, devices, numbers, thresholds, units, acked_by, acked_at, detector, off)
SELECT n, id, t, state, 'silent-cohort', cause, 'critical', '31 of 50 devices are silent', cohort, 'eu', now64(3) - toIntervalMinute(60 + age), if(state = 'resolved', t, toDateTime64(0, 3)), revision, 31,
    '[{"id":"sim-00001","no":1,"since":1795000000000,"marks":3}]', '{"missing":31}', '{"tail":0.00000005}', '{"missing":"devices"}', by, if(by = '', toDateTime64(0, 3), t), 'silence-v1-00c0ffee', n + 1
FROM (SELECT *, now64(3) - toIntervalMinute(60 - minute) AS t FROM VALUES('n UInt64, id String, cohort String, cause String, state String, revision UInt32, minute Int32, by String, age Int32',
    (1, 'iaaaaaaaaaaab', 'north', 'power', 'open', 1, 2, '', 0), (2, 'iaaaaaaaaaaab', 'north', 'power', 'open', 2, 10, 'ann', 0),
    (3, 'iaaaaaaaaaaac', 'south', 'radio', 'open', 1, 12, '', 600), (4, 'iaaaaaaaaaaab', 'north', 'power', 'resolved', 3, 30, 'ann', 0)))`
	statement(t, w, rows)
	statement(t, w, rows+" WHERE n = 3") // a send of which the end was not heard
	statement(t, w, `INSERT INTO muster.evidence_rows (n, idx, incident, topic, part, from_off, to_off, off)
SELECT n, idx, 'iaaaaaaaaaaab', if(idx = 0, 'muster.telemetry.v1', 'muster.events.v1'), 2, 100, 200 + n, n + 1 FROM VALUES('n UInt64, idx UInt32', (1, 0), (1, 1), (2, 0), (4, 0), (4, 1))`)
	statement(t, w, `INSERT INTO muster.verdict_rows (n, rollout, stage, at, verdict, final, effect, low, high, treated, control, failed_treated, failed_control, exposure_ms, kinds, devices, detector, why, off)
SELECT n, 'fw-2', 1, now64(3), verdict, n = 6, 5.5, 2.1, 14, 50, 200, 12, 2, 1800 * 60000, '[{"kind":"crash","treated":10,"control":1}]', '[{"id":"sim-00002","no":2,"since":0,"marks":0}]', 'update-v1-00c0ffee', 'crashes', n + 1
FROM VALUES('n UInt64, verdict String', (5, 'hold'), (6, 'fail'))`)
}

// seedDraw writes a verdict about a second stage, in which more of the drawn failed than of those that began.
func seedDraw(t testing.TB, w *warehouse.Warehouse) {
	t.Helper()
	statement(t, w, `INSERT INTO muster.verdict_rows (n, rollout, stage, at, verdict, final, effect, low, high, treated, control, failed_treated, failed_control, drawn_treated, drawn_control, drawn_failed_treated, drawn_failed_control, compared_treated, compared_control, exposure_ms, detector, why, off)
SELECT 7, 'fw-2', 2, now64(3), 'fail', false, 25, 5, 100, 31, 199, 3, 1, 48, 202, 20, 4, 6, 18, 930 * 60000, 'update-v1-00c0ffee', 'they never began', 8`)
}

func TestAnIncidentIsShownOnceAndAsItStands(t *testing.T) {
	w := warehousetest.Start(t)
	seedIncidents(t, w)
	for query, want := range map[string][]string{
		"SELECT toString(tuple(id, state, revision, acked_by, isNull(resolved_at), isNull(acked_at), devices.device, devices.marks, numbers['missing'], units['missing'], n)) FROM muster.incidents ORDER BY id": {
			"('iaaaaaaaaaaab','resolved',3,'ann',0,0,['sim-00001'],[['power','radio']],31,'devices',4)",
			"('iaaaaaaaaaaac','open',1,'',1,1,['sim-00001'],[['power','radio']],31,'devices',3)"},
		"SELECT toString(tuple(n, id, state)) FROM muster.incident_history ORDER BY n": {
			"(1,'iaaaaaaaaaaab','open')", "(2,'iaaaaaaaaaaab','open')", "(3,'iaaaaaaaaaaac','open')", "(4,'iaaaaaaaaaaab','resolved')"},
		"SELECT toString(tuple(n, verdict, final, kinds.kind, devices)) FROM muster.verdicts ORDER BY n": {
			"(5,'hold',false,['crash'],['sim-00002'])", "(6,'fail',true,['crash'],['sim-00002'])"},
		"SELECT toString(count()) FROM muster.incident_rows": {"5"},
	} {
		if got := column(t, w, strings.ReplaceAll(query, "muster.", w.Database()+".")); !slices.Equal(got, want) {
			t.Errorf("%s shows\n%s\nwant\n%s", query, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestAVerdictOfBeforeTheDrawWasToldIsReadable(t *testing.T) {
	w := warehousetest.Empty(t)
	if err := warehouse.MigrateTo(t.Context(), w, 8); err != nil {
		t.Fatal(err)
	}
	seedIncidents(t, w)
	if err := w.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	query := "SELECT toString(tuple(n, treated, failed_treated, e_drawn, drawn_treated, drawn_failed_control, e_health, compared_control)) FROM muster.verdicts ORDER BY n"
	got := column(t, w, strings.ReplaceAll(query, "muster.", w.Database()+"."))
	if want := []string{"(5,50,12,0,0,0,0,0)", "(6,50,12,0,0,0,0,0)"}; !slices.Equal(got, want) {
		t.Errorf("%s shows\n%s\nwant\n%s", query, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
