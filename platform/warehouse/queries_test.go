package warehouse_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
)

// seedRecent writes an hour of three devices, up to about now: the third falls
// silent for half of it. There is a crash, a duplicate and a quarantined value.
func seedRecent(t *testing.T, w *warehouse.Warehouse) {
	t.Helper()
	if err := w.EnsureProfile(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	devices(t, w, 3)
	from := time.Now().UTC().Truncate(time.Minute).Add(-50 * time.Minute)
	b := warehousetest.NewWideBlock(env)
	wide(b, from, 1, 2, 50, 0)
	wide(b, from, 3, 1, 20, 0)
	insert(t, w, b.Table, b.Block, "wide")

	l := warehousetest.NewLedgerBlock()
	record := func(no uint32, minute int, outcome int8, faults uint32) {
		off := uint64(l.Rows())
		got := from.Add(time.Duration(minute) * time.Minute).UnixMilli()
		l.Append(1, 0, off, 1)
		l.Outcome.Append(outcome)
		l.DeviceNo.Append(no)
		l.Boot.Append(1)
		l.Seq.Append(off)
		l.Hash.Append(1)
		l.Got.Append(got)
		l.T0.Append(-1000)
		l.T1.Append(-500)
		l.N.Append(5)
		l.Faults.Append(faults)
		l.Bytes.Append(100)
		l.StoredAt.Append(got + 2500)
	}
	for m := range 50 {
		record(1, m, warehousetest.Stored, 0)
		record(2, m, warehousetest.Stored, 0)
		if m < 20 {
			record(3, m, warehousetest.Stored, 0)
		}
	}
	record(1, 49, warehousetest.Duplicate, 0)
	record(2, 49, warehousetest.Stored, 1)
	insert(t, w, "ledger", l.Block, "ledger")

	q := warehousetest.NewQuarantineBlock()
	q.Append(1, 0, 121, 1)
	q.Idx.Append(0)
	q.Got.Append(from.UnixMilli())
	q.DeviceNo.Append(2)
	q.Device.AppendString(deviceName(2))
	q.Metric.AppendString("temp_c")
	q.Reason.AppendString("nan")
	q.Detail.AppendString("not a number")
	q.PadTo(1)
	insert(t, w, "quarantine", q.Block, "quarantine")

	e := warehousetest.NewEventBlock()
	e.Append(2, 0, 0, 1)
	e.DeviceNo.Append(1)
	e.Device.AppendString(deviceName(1))
	e.TS.Append(from.UnixMilli())
	e.Type.AppendString("crash")
	e.Boot.Append(1)
	e.Seq.Append(1)
	e.Firmware.AppendString("1.4.1")
	e.Fields.AppendString(`{"reason":"watchdog","pc":4660,"fatal":true}`)
	e.PadTo(1)
	insert(t, w, "device_events", e.Block, "events")
}

// answers are what some line of a question's answer looks like.
var answers = map[string]string{
	"latest-per-device.sql":     `^\('sim-00001','mode','auto',`,
	"fleet-average-by-hour.sql": `^\('.*',[23],\d+,`,
	"one-device.sql":            `^\('door','.*',1,`,
	"gaps-per-device.sql":       `^\('sim-00003',`,
	"data-lag.sql":              `,2.5,2.5,2.5\)$`,
	"by-firmware.sql":           `^\('1.4.1',1,50,`,
	"outcomes.sql":              `^\('stored',121,3,605,1,`,
	"quarantine-by-reason.sql":  `^\('nan','temp_c',1,1,'sim-00002','not a number'\)$`,
	"crashes.sql":               `^\('sim-00001','1.4.1',1,.*,'watchdog'\)$`,
	"storage-per-table.sql":     `^\('w_env',120,`,
	"messages-by-cohort.sql":    `^\('north',3,122,610,1,0\)$`,
	"security-findings.sql":     `^\('sim-00002','north',\['clone-sign'\],.*,6,\['seq-back, two-addresses'\]\)$`,
	"who-revoked.sql":           `'operator','device-revoked','sim-00005','','stolen'\)$`,
	"certificates-ending.sql":   `^\('north','ca1',2,1,.*,'sim-00004'\)$`,
	"open-incidents.sql":        `^\('iaaaaaaaaaaac','critical','silent-cohort','radio','south',`,
	"incidents-by-kind.sql":     `^\('silent-cohort','power',1,0,1,0,30,30,30\)$`,
	"story-of-an-incident.sql":  `^\(4,.*,'resolved','critical',31,'ann',.*,\['muster.telemetry.v1/2 \[100, 204\)','muster.events.v1/2 \[100, 204\)'\]\)$`,
	"verdicts.sql":              `^\('fw-2',2,'fail',false,.*,25,5,100,3,31,1,199,20,48,4,202,6,18,930,'','they never began'\)$`,
}

func TestEveryDocumentedQuestionHasAnAnswer(t *testing.T) {
	w := warehousetest.Start(t)
	seedRecent(t, w)
	seedSecurity(t, w)
	seedIncidents(t, w)
	seedDraw(t, w)
	// As an analyst asks: without credentials.
	cfg := warehouse.DefaultConfig()
	cfg.Addr, cfg.Database = warehousetest.Config(t).Addr, w.Database()
	analyst, err := warehouse.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer analyst.Close()
	files, err := filepath.Glob("../../docs/queries/*.sql")
	if err != nil || len(files) != len(answers) {
		t.Fatalf("%d questions, %d answers known, %v", len(files), len(answers), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		question, _, _ := strings.Cut(string(text), "\n")
		if !strings.HasPrefix(question, "-- ") || !strings.HasSuffix(question, "?") {
			t.Errorf("%s opens with %q, want a question", name, question)
		}
		query := strings.NewReplacer("muster.", w.Database()+".", "'muster'", "'"+w.Database()+"'").Replace(string(text))
		lines := column(t, analyst, "SELECT toString(tuple(*)) FROM ("+query+")")
		if want := regexp.MustCompile(answers[name]); !slices.ContainsFunc(lines, want.MatchString) {
			t.Errorf("%s: no line is like %s in\n%s", name, want, strings.Join(lines, "\n"))
		}
	}
}

func column(t *testing.T, w *warehouse.Warehouse, query string) []string {
	t.Helper()
	rows, err := w.Conn().Query(t.Context(), query)
	if err != nil {
		t.Errorf("%s: %v", query, err)
		return nil
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, s)
	}
	if err := rows.Err(); err != nil {
		t.Errorf("%s: %v", query, err)
	}
	return lines
}

func TestAMessageWithoutANumberShowsNone(t *testing.T) {
	w := warehousetest.Start(t)
	devices(t, w, 1)
	insert(t, w, "ledger", ledger(1, 0,
		message{off: 0, outcome: warehousetest.Stored, device: 1, boot: 0, seq: warehouse.Unkeyed, n: 3},
		message{off: 1, outcome: warehousetest.Stored, device: 1, boot: 4, seq: 17, n: 3},
		message{off: 2, outcome: warehousetest.Duplicate, device: 1, boot: 4, seq: 17},
	), "l")
	got := column(t, w, "SELECT toString(tuple(device, boot, seq, n, first_ts, last_ts, off)) FROM "+w.Database()+".messages ORDER BY off")
	want := []string{
		"('sim-00001',NULL,NULL,3,'2026-11-19 23:59:58.000','2026-11-19 23:59:59.000',0)",
		"('sim-00001',4,17,3,'2026-11-19 23:59:59.000','2026-11-20 00:00:00.000',1)",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}

func TestTheLatestWordOnADeviceHolds(t *testing.T) {
	w := warehousetest.Start(t)
	devices(t, w, 2)
	b := warehousetest.NewDeviceBlock()
	b.Append(0, 0, 99, 1)
	b.No.Append(2)
	b.Device.AppendString(deviceName(2))
	b.Revoked.Append(true)
	b.PadTo(1)
	insert(t, w, "device_rows", b.Block, "revoked")
	got := column(t, w, "SELECT toString(tuple(no, device, revoked)) FROM "+w.Database()+".devices ORDER BY no")
	if !slices.Equal(got, []string{"(1,'sim-00001',false)", "(2,'sim-00002',true)"}) {
		t.Fatal(got)
	}
}
