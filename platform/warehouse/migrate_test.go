package warehouse_test

import (
	"slices"
	"sync"
	"testing"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
)

func tables(t *testing.T, w *warehouse.Warehouse) []string {
	t.Helper()
	rows, err := w.Conn().Query(t.Context(), "SELECT name FROM system.tables WHERE database = '"+w.Database()+"' ORDER BY name")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var n string
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	return names
}

var wanted = []string{
	"audit", "device_events", "device_names", "device_rows", "devices", "events", "evidence", "evidence_rows", "incident_history", "incident_rows", "incidents", "kpi_data_lag", "kpi_enrolments", "kpi_security", "ledger", "messages", "quarantine",
	"registry_events", "s_old", "s_other", "samples", "samples_1h", "samples_1h_staging", "samples_1m", "samples_1m_staging", "samples_1m_stored", "schema_versions", "security_findings", "stored_minutes", "verdict_rows", "verdicts",
}

func TestMigratingFromNothingAndAgainGivesTheSameTables(t *testing.T) {
	w := warehousetest.Empty(t)
	if v, err := w.Version(t.Context()); err != nil || v != 0 {
		t.Fatalf("version of nothing is %d, %v", v, err)
	}
	var lines int
	if err := w.Migrate(t.Context(), func(string) { lines++ }); err != nil {
		t.Fatal(err)
	}
	if lines == 0 {
		t.Error("the first run told no progress")
	}
	v, err := w.Version(t.Context())
	if err != nil || int(v) != lines {
		t.Fatalf("version %d after %d migrations, %v", v, lines, err)
	}
	if got := tables(t, w); !slices.Equal(got, wanted) {
		t.Fatalf("tables %v, want %v", got, wanted)
	}
	lines = 0
	if err := w.Migrate(t.Context(), func(string) { lines++ }); err != nil || lines != 0 {
		t.Fatalf("the second run did %d migrations, %v", lines, err)
	}
}

func TestATableThatWasDroppedIsMissedAndNotMadeAgainEmpty(t *testing.T) {
	w := warehousetest.Empty(t)
	if err := w.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Missing(t.Context()); err != nil || len(got) > 0 {
		t.Fatalf("a new schema misses %v, %v", got, err)
	}
	if err := w.Conn().Exec(t.Context(), "DROP TABLE `"+w.Database()+"`.quarantine SYNC"); err != nil {
		t.Fatal(err)
	}
	if err := w.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Missing(t.Context()); err != nil || !slices.Equal(got, []string{"quarantine"}) {
		t.Errorf("missing %v, %v", got, err)
	}
}

func TestMigratingAtOnceFromTwoProcessesSucceedsForBoth(t *testing.T) {
	cfg := warehousetest.Config(t)
	var all sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		w, err := warehouse.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.Close() })
		all.Go(func() { errs[i] = w.Migrate(t.Context(), nil) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	w, err := warehouse.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if got := tables(t, w); !slices.Equal(got, wanted) {
		t.Fatalf("tables %v, want %v", got, wanted)
	}
	if err := w.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func TestMigratingGoesOnFromAnOlderVersion(t *testing.T) {
	w := warehousetest.Empty(t)
	for version := int64(1); version <= 3; version++ {
		if err := warehouse.MigrateTo(t.Context(), w, version); err != nil {
			t.Fatal(err)
		}
		if v, err := w.Version(t.Context()); err != nil || v != version {
			t.Fatalf("version %d, want %d, %v", v, version, err)
		}
	}
	if err := w.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := tables(t, w); !slices.Equal(got, wanted) {
		t.Fatalf("tables %v, want %v", got, wanted)
	}
}

func TestDropAllLeavesWhatOthersMadeAndMigrateStartsAnew(t *testing.T) {
	w := warehousetest.Start(t)
	if err := w.EnsureProfile(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if err := w.Conn().Exec(t.Context(), "CREATE TABLE "+w.Database()+".mine (a UInt8) ENGINE = MergeTree ORDER BY a"); err != nil {
		t.Fatal(err)
	}
	if err := w.DropAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := tables(t, w); !slices.Equal(got, []string{"mine"}) {
		t.Fatalf("tables %v are left", got)
	}
	if err := w.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func TestARebuildTakesTheSameRowsUnderTheSameTokens(t *testing.T) {
	w := warehousetest.Start(t)
	replay := func() []string {
		t.Helper()
		if err := w.EnsureProfile(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		b := warehousetest.NewWideBlock(env)
		wide(b, day0, 1, 3, 4, 0)
		insert(t, w, b.Table, b.Block, "plan-1/w_env")
		insert(t, w, "ledger", ledger(1, 0, message{off: 0, outcome: warehousetest.Stored, device: 1, n: 24}), "plan-1/ledger")
		db := w.Database()
		return append(column(t, w, "SELECT toString(tuple(*)) FROM "+db+".samples ORDER BY ALL"),
			column(t, w, "SELECT toString(tuple(* EXCEPT stored_at)) FROM "+db+".ledger ORDER BY ALL")...)
	}
	before := replay()
	if err := w.DropAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if after := replay(); len(after) < 60 || !slices.Equal(before, after) {
		t.Fatalf("%d rows before, %d after, or others", len(before), len(after))
	}
}
