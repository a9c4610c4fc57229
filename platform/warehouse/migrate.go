package warehouse

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// versionTable is goose's own, beside the tables it speaks of.
const versionTable = "schema_versions"

// What every schema has, profiles apart.
var (
	schemaTables = []string{"ledger", "quarantine", "s_other", "s_old", "samples_1h", "samples_1h_staging", "samples_1m_stored", "samples_1m_staging", "device_rows", "device_events", "registry_events",
		"incident_rows", "verdict_rows", "evidence_rows"}
	schemaViews = []string{"samples_1m", "stored_minutes", "samples", "devices", "messages", "events", "kpi_data_lag", "audit", "security_findings", "kpi_security", "kpi_enrolments",
		"incidents", "incident_history", "verdicts", "evidence"}
	schemaDictionaries = []string{"device_names"}
)

// Progress is told what a long run is doing, a line at a time. It may be nil.
type Progress func(line string)

func (p Progress) say(format string, args ...any) {
	if p != nil {
		p(fmt.Sprintf(format, args...))
	}
}

// Migrate brings the database, which it creates, to this program's schema. It
// may be run again, and by two processes at once: every statement of a
// migration can be repeated, and the views are made anew from the tables that
// are there. It does not go back.
func (w *Warehouse) Migrate(ctx context.Context, progress Progress) error {
	return w.migrate(ctx, progress, 0)
}

// migrate goes up to a version, or to the last one when it is 0.
func (w *Warehouse) migrate(ctx context.Context, progress Progress, version int64) error {
	if err := w.exec(ctx, "CREATE DATABASE IF NOT EXISTS ${DB}"); err != nil {
		return fmt.Errorf("warehouse: migrate: %w", err)
	}
	p, closeDB, err := w.provider()
	if err != nil {
		return fmt.Errorf("warehouse: migrate: %w", err)
	}
	defer closeDB()
	var results []*goose.MigrationResult
	if version == 0 {
		results, err = p.Up(ctx)
	} else {
		results, err = p.UpTo(ctx, version)
	}
	for _, r := range results {
		progress.say("migration %s (%v)", r.Source.Path, r.Duration)
	}
	if err != nil {
		return fmt.Errorf("warehouse: migrate: %w", classify(err))
	}
	if version == 0 {
		if err := w.refreshViews(ctx); err != nil {
			return fmt.Errorf("warehouse: migrate: %w", err)
		}
	}
	return nil
}

// Version is the schema's version, 0 when Migrate never ran.
func (w *Warehouse) Version(ctx context.Context) (int64, error) {
	ctx, cancel := w.bound(ctx)
	defer cancel()
	var v int64
	err := w.conn.QueryRow(ctx, "SELECT max(version_id) FROM "+w.table(versionTable)).Scan(&v)
	var e *Error
	if err = classify(err); errors.As(err, &e) && (e.Code == codeUnknownTable || e.Code == codeUnknownDatabase) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("warehouse: schema version: %w", err)
	}
	return v, nil
}

// Missing names the tables and views of the schema that are not there, which Migrate does not make again: they hold
// what was stored, and an empty one in its place would pass for the whole. A rebuild brings them back. The wide tables
// of the profiles are the registry's to know.
func (w *Warehouse) Missing(ctx context.Context) ([]string, error) {
	ctx, cancel := w.bound(ctx)
	defer cancel()
	rows, err := w.conn.Query(ctx, "SELECT name FROM system.tables WHERE database = ?", w.db)
	if err != nil {
		return nil, fmt.Errorf("warehouse: list the tables: %w", classify(err))
	}
	defer rows.Close()
	there := map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("warehouse: list the tables: %w", err)
		}
		there[name] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("warehouse: list the tables: %w", classify(err))
	}
	var missing []string
	for _, name := range slices.Concat(schemaTables, schemaViews, schemaDictionaries) {
		if !there[name] {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

func (w *Warehouse) provider() (*goose.Provider, func(), error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, nil, fmt.Errorf("embedded files: %w", err)
	}
	o := w.options()
	// An insert that is gathered with others is not there yet when goose
	// reads its version back.
	o.Settings = clickhouse.Settings{"async_insert": 0, "mutations_sync": 2}
	db := clickhouse.OpenDB(o)
	p, err := goose.NewProvider(goose.DialectClickHouse, db, named{files, w}, goose.WithTableName(w.table(versionTable)), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read the migrations: %w", err), db.Close())
	}
	return p, func() { closeQuietly(db) }, nil
}

// closeQuietly closes a pool whose work is done; there is nobody to tell.
func closeQuietly(db *sql.DB) { _ = db.Close() }

// DropAll drops everything that Migrate and EnsureProfile made, for a rebuild
// from the log. It asks nobody: the caller has asked. What others put into
// the database stays.
func (w *Warehouse) DropAll(ctx context.Context) error {
	for _, v := range schemaViews {
		if err := w.exec(ctx, "DROP VIEW IF EXISTS "+w.table(v)); err != nil {
			return fmt.Errorf("warehouse: drop %s: %w", v, err)
		}
	}
	for _, d := range schemaDictionaries {
		if err := w.exec(ctx, "DROP DICTIONARY IF EXISTS "+w.table(d)); err != nil {
			return fmt.Errorf("warehouse: drop %s: %w", d, err)
		}
	}
	profiles, err := w.profiles(ctx)
	if err != nil {
		return fmt.Errorf("warehouse: drop: %w", err)
	}
	all := slices.Clone(schemaTables)
	for _, p := range profiles {
		if err := w.exec(ctx, "DROP VIEW IF EXISTS "+w.table(profileView(p.Name))); err != nil {
			return fmt.Errorf("warehouse: drop the view of %s: %w", p.Name, err)
		}
		all = append(all, WideTable(p.Name))
	}
	for _, t := range append(all, versionTable) {
		if err := w.exec(ctx, "DROP TABLE IF EXISTS "+w.table(t)+" SYNC"); err != nil {
			return fmt.Errorf("warehouse: drop %s: %w", t, err)
		}
	}
	return nil
}

// exec runs a statement that gives no rows.
func (w *Warehouse) exec(ctx context.Context, statement string) error {
	ctx, cancel := w.bound(ctx)
	defer cancel()
	if err := w.conn.Exec(ctx, w.sql(statement)); err != nil {
		return classify(err)
	}
	return nil
}

// named is the migrations with our database's name in them. goose can put
// environment variables into SQL, but a process has one environment and may
// have two databases.
type named struct {
	fs.FS
	w *Warehouse
}

// Open implements fs.FS.
func (n named) Open(name string) (fs.File, error) {
	f, err := n.FS.Open(name)
	if err != nil {
		return nil, fmt.Errorf("migration: %w", err)
	}
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		return f, err //nolint:wrapcheck // fs.FS's contract
	}
	defer f.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(f); err != nil {
		return nil, fmt.Errorf("migration %s: %w", name, err)
	}
	return &namedFile{Reader: bytes.NewReader([]byte(n.w.sql(text.String()))), info: info}, nil
}

// ReadDir implements fs.ReadDirFS.
func (n named) ReadDir(name string) ([]fs.DirEntry, error) {
	return fs.ReadDir(n.FS, name) //nolint:wrapcheck // fs.FS's contract
}

type namedFile struct {
	*bytes.Reader
	info fs.FileInfo
}

// Stat implements fs.File.
func (f *namedFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// Close implements fs.File.
func (f *namedFile) Close() error { return nil }
