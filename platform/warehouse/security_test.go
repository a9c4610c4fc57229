package warehouse_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
)

// statement runs what no block is for.
func statement(t testing.TB, w *warehouse.Warehouse, sql string) {
	t.Helper()
	if err := w.Conn().Exec(t.Context(), strings.ReplaceAll(sql, "INTO muster.", "INTO "+w.Database()+".")); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// seedSecurity writes devices whose certificates live 90 days, by how many days old they are, what gateways and the registry said of them.
func seedSecurity(t testing.TB, w *warehouse.Warehouse) {
	t.Helper()
	statement(t, w, `INSERT INTO muster.device_rows (no, device, cohort, profile, region, interval_ms, enrolled_at, off, form, method, serial, issuer, not_before, not_after, quarantined, revoked, revoked_at, replaces, replaced_by, attributes, groups)
SELECT no, concat('sim-', leftPad(toString(no), 5, '0')), if(no <= 5, 'north', 'south'), 'pump', 'eu', 60000, now64(3) - toIntervalDay(age), no, 1,
    if(no % 2 = 1, 'operator', 'manufacturer'), concat('0a', toString(no)), 'ca1', now64(3) - toIntervalDay(age), now64(3) - toIntervalDay(age) + toIntervalDay(90),
    no = 4, no IN (5, 7), if(no IN (5, 7), now64(3) - toIntervalDay(1), toDateTime64(0, 3)), if(no = 6, 5, 0), if(no = 5, 6, 0), if(no = 1, '{"room":"b","site":"ulm"}', ''), if(no = 1, 'pilots,ulm', '')
FROM VALUES('no UInt32, age Int32', (1, 10), (2, 20), (3, 70), (4, 100), (5, 100), (6, 1), (7, 80))`)
	statement(t, w, `INSERT INTO muster.device_rows (no, device, cohort, enrolled_at, off, form) VALUES (8, 'sim-00008', 'south', now64(3), 8, 1)`) // of before certificates were written down
	statement(t, w, `INSERT INTO muster.device_events (device_no, device, ts, type, fields, off)
SELECT no, concat('sim-', leftPad(toString(no), 5, '0')), now64(3) - toIntervalHour(h), 'clone-sign', f, off
FROM VALUES('no UInt32, h Int32, f String, off UInt64', (2, 5, '{"sign":"two-addresses"}', 1), (2, 3, '{"sign":"seq-back","more":4}', 2), (6, 30, '{"sign":"two-addresses"}', 3), (1, 200, '{"sign":"two-addresses"}', 4))`)
	statement(t, w, `INSERT INTO muster.registry_events (n, time, type, who, why, device, subject, body, off)
SELECT n, now64(3) - toIntervalHour(h), concat('muster.registry.', t, '.v1'), 'operator', w, d, s, b, n
FROM VALUES('n UInt64, h Int32, t String, w String, d String, s String, b String',
    (1, 300, 'device-enrolled', 'new', 'sim-00005', 'cohort north', '{}'),
    (2, 24, 'device-revoked', 'stolen', 'sim-00005', '', '{"no":5}'),
    (3, 2, 'attempt-refused', '', 'sim-00009', 'est: wrong password', '{"what":"est","more":9}'),
    (4, 1, 'attempt-refused', '', 'sim-00009', 'est: wrong password', '{"what":"est","more":0}'),
    (5, 200, 'attempt-refused', '', 'sim-00009', 'est: wrong password', '{"what":"est","more":0}'))`)
}

func TestADeviceShowsWhatTheRegistryKnowsOfIt(t *testing.T) {
	w := warehousetest.Start(t)
	seedSecurity(t, w)
	got := column(t, w, "SELECT toString(tuple(device, revoked, isNull(revoked_at), quarantined, replaces, replaced_by, method, serial, dateDiff('day', not_before, not_after), attributes, groups)) FROM "+w.Database()+".devices ORDER BY no")
	for i, want := range map[int]string{
		0: `('sim-00001',false,1,false,'','','operator','0a1',90,{'room':'b','site':'ulm'},['pilots','ulm'])`,
		3: `('sim-00004',false,1,true,'','','manufacturer','0a4',90,{},[])`,
		4: `('sim-00005',true,0,false,'','sim-00006','operator','0a5',90,{},[])`,
		5: `('sim-00006',false,1,false,'sim-00005','','manufacturer','0a6',90,{},[])`,
		7: `('sim-00008',false,1,false,'','','','',NULL,{},[])`,
	} {
		if i >= len(got) || got[i] != want {
			t.Errorf("row %d of %d is\n%s\nwant\n%s", i, len(got), strings.Join(got, "\n"), want)
		}
	}
}

func TestRowsOfBeforeAreReadable(t *testing.T) {
	w := warehousetest.Empty(t)
	if err := warehouse.MigrateTo(t.Context(), w, 6); err != nil {
		t.Fatal(err)
	}
	devices(t, w, 2)
	before := column(t, w, "SELECT toString(tuple(*)) FROM "+w.Database()+".devices ORDER BY no")
	if err := w.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	after := column(t, w, "SELECT toString(tuple(no, device, cohort, class, profile, region, interval_ms, history, revoked, enrolled_at)) FROM "+w.Database()+".devices ORDER BY no")
	if len(before) != 2 || !slices.Equal(before, after) {
		t.Errorf("%v became %v", before, after)
	}
	if got := column(t, w, "SELECT toString(tuple(revoked_at, not_after, replaces, attributes, groups, method)) FROM "+w.Database()+".devices WHERE no = 1"); !slices.Equal(got, []string{"(NULL,NULL,'',{},[],'')"}) {
		t.Errorf("%v", got)
	}
}

func TestTheSecurityOfTheFleetIsOneRow(t *testing.T) {
	w := warehousetest.Start(t)
	empty := column(t, w, "SELECT toString(tuple(devices, revoked, rotated_in_time, overdue, expired, clone_suspects, open_findings, refused)) FROM "+w.Database()+".kpi_security")
	if !slices.Equal(empty, []string{"(0,0,NULL,0,0,0,0,0)"}) {
		t.Errorf("of nothing: %v", empty)
	}
	seedSecurity(t, w)
	// Known and not revoked: 1 (10 days), 2 (20), 3 (70, in its last third), 4 (100, over), 6 (1).
	got := column(t, w, `SELECT toString(tuple(devices, revoked, quarantined, certificates_unknown, round(age_p50_d), round(age_max_d), round(rotated_in_time, 2), overdue, expired, clone_suspects, clone_signs, open_findings, refused)) FROM `+w.Database()+".kpi_security")
	if want := "(8,2,1,1,20,100,0.6,1,1,2,7,4,11)"; !slices.Equal(got, []string{want}) {
		t.Errorf("%v, want %s", got, want)
	}
	got = column(t, w, "SELECT toString(tuple(kind, device, cohort, detail LIKE '%0a%', times)) FROM "+w.Database()+".security_findings ORDER BY kind, device")
	want := []string{"('clone-sign','sim-00002','north',0,6)", "('clone-sign','sim-00006','south',0,1)", "('expired','sim-00004','north',1,1)", "('overdue','sim-00003','north',1,1)", "('refused','sim-00009','',0,11)"}
	if !slices.Equal(got, want) {
		t.Errorf("%v\nwant\n%v", got, want)
	}
	got = column(t, w, "SELECT toString(tuple(method, sum(devices), sum(revoked_since))) FROM "+w.Database()+".kpi_enrolments GROUP BY method ORDER BY method")
	if want := []string{"('',1,0)", "('manufacturer',3,0)", "('operator',4,2)"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestFindingsAreBounded(t *testing.T) {
	w := warehousetest.Start(t)
	statement(t, w, `INSERT INTO muster.device_rows (no, device, not_before, not_after, off, form)
SELECT number + 1, toString(number), now64(3) - toIntervalDay(100) - toIntervalSecond(number), now64(3) - toIntervalDay(10), number, 1 FROM numbers(1500)`)
	if n := scalar[uint64](t, w, "SELECT count() FROM "+w.Database()+".security_findings"); n != 1000 {
		t.Errorf("%d findings are listed", n)
	}
	if n := scalar[uint64](t, w, "SELECT expired FROM "+w.Database()+".kpi_security"); n != 1500 {
		t.Errorf("%d are counted", n)
	}
}

func TestADevicesNumberIsItsNameInADictionary(t *testing.T) {
	w := warehousetest.Start(t)
	seedSecurity(t, w)
	db := w.Database()
	got := column(t, w, fmt.Sprintf("SELECT toString(tuple(dictGet('%[1]s.device_names', ('device', 'cohort', 'region', 'revoked'), toUInt64(5)), dictGetOrDefault('%[1]s.device_names', 'device', toUInt64(99), 'nobody')))", db))
	if want := []string{"(('sim-00005','north','eu',1),'nobody')"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestAnEventOfTheRegistryIsFoundByItsDevice(t *testing.T) {
	w := warehousetest.Start(t)
	seedSecurity(t, w)
	got := column(t, w, "SELECT toString(tuple(n, who, why, type)) FROM "+w.Database()+".audit WHERE device = 'sim-00005' ORDER BY n")
	if want := []string{"(1,'operator','new','device-enrolled')", "(2,'operator','stolen','device-revoked')"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
