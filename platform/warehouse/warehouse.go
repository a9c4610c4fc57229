package warehouse

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Warehouse is an open connection pool to one database. It is safe for
// concurrent use.
type Warehouse struct {
	cfg    Config
	db     string
	base   *url.URL
	secret string
	client *http.Client
	conn   driver.Conn
}

// Open prepares the connections; it does not dial. Use Ping to know whether
// the engine is there.
func Open(cfg Config) (*Warehouse, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	secret, err := cfg.secret()
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("warehouse: addr: %w", err)
	}
	w := &Warehouse{cfg: cfg, db: cfg.Database, base: base, secret: secret}
	w.client = &http.Client{Transport: &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		MaxConnsPerHost:       16,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       time.Minute,
		ResponseHeaderTimeout: MaxInsertTime + 10*time.Second,
		WriteBufferSize:       64 << 10,
		DisableCompression:    true,
	}}
	w.conn, err = clickhouse.Open(w.options())
	if err != nil {
		return nil, fmt.Errorf("warehouse: open: %w", err)
	}
	return w, nil
}

func (w *Warehouse) options() *clickhouse.Options {
	o := &clickhouse.Options{
		Protocol: clickhouse.HTTP,
		Addr:     []string{w.base.Host},
		// Not the database of the tables: it may not be there before Migrate,
		// and every statement of this package names its database.
		Auth:            clickhouse.Auth{Database: "default", Username: w.cfg.User, Password: w.secret},
		DialTimeout:     5 * time.Second,
		ReadTimeout:     w.cfg.Timeout + 5*time.Second,
		MaxOpenConns:    8,
		MaxIdleConns:    4,
		ConnMaxLifetime: time.Hour,
	}
	if w.base.Scheme == "https" {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return o
}

// Ping returns nil when the engine answers a question with our credentials.
func (w *Warehouse) Ping(ctx context.Context) error {
	ctx, cancel := w.bound(ctx)
	defer cancel()
	var one uint8
	if err := w.conn.QueryRow(ctx, "SELECT 1").Scan(&one); err != nil {
		return fmt.Errorf("warehouse: ping %s: %w", w.base.Host, classify(err))
	}
	return nil
}

// Conn is a clickhouse-go connection to the same engine, for questions that
// this package does not know. Its default database is not the tables': name
// it, see Database. A question must not use `INSERT`.
func (w *Warehouse) Conn() driver.Conn { return w.conn }

// Database is the name of the database that holds the tables.
func (w *Warehouse) Database() string { return w.db }

// Close ends the connections.
func (w *Warehouse) Close() error {
	w.client.CloseIdleConnections()
	if err := w.conn.Close(); err != nil {
		return fmt.Errorf("warehouse: close: %w", err)
	}
	return nil
}

// bound gives every question an end. clickhouse-go makes max_execution_time of
// the deadline, so the engine stops too.
func (w *Warehouse) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, w.cfg.Timeout)
}

// table is the quoted name of a table in our database.
func (w *Warehouse) table(name string) string { return quote(w.db) + "." + quote(name) }

// sql puts the database into a statement: ${DB} is its quoted name.
func (w *Warehouse) sql(statement string) string {
	return strings.ReplaceAll(statement, "${DB}", quote(w.db))
}

// quote quotes an identifier. Callers pass only what a pattern has allowed;
// the escape is the second wall.
func quote(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}

// literal quotes a string value.
func literal(s string) string {
	return "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'").Replace(s) + "'"
}
