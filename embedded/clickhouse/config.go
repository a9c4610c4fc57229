package clickhouse

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"time"
)

// Config is what the store needs to know.
type Config struct {
	// Listen is the one address, loopback only. Port 0 takes a free one, for tests.
	Listen string
	// DataDir holds the tables, and the lock that keeps a second process away from them.
	DataDir string
	// Library is the path of libchdb; empty asks FindLibrary.
	Library string
	// Database is created at the start and is where a request lands that names none.
	Database string
	// ServiceUser, with ServiceSecret, may do everything.
	ServiceUser   string
	ServiceSecret string
	// Sync fsyncs each part before an INSERT is acknowledged: without it kill -9 loses nothing, a power cut may.
	Sync bool
	// MaxMemory bounds the engine as a whole, in bytes.
	MaxMemory int64
	// MaxBody bounds the body of one INSERT after decompression, in bytes; it is one block in memory.
	MaxBody int64
	// MaxConnections is how many are open at once: what is above is closed, so that files stay for the engine.
	MaxConnections int
	// MaxServices is how many requests with credentials run at once; more wait.
	MaxServices int
	// Analysts bounds requests without credentials.
	Analysts Limits
	// DrainTimeout is how long Close lets running queries finish before it cancels them.
	DrainTimeout time.Duration
	// Derived says which names are views that their owner makes anew: those may be removed where a full disk left
	// their definition empty. Nil is none.
	Derived func(name string) bool
	// Log takes a line for each start and stop; nil drops them.
	Log *slog.Logger
}

// Limits bounds what analysts can take from the services beside them.
type Limits struct {
	Queries   int           // at once
	Requests  int           // at once, those that are read, wait or are written among them; more get 503
	Query     int64         // bytes of a statement
	Patience  time.Duration // for a request to come, and again for its answer to be taken
	Wait      time.Duration // for a place; then 503
	Memory    int64         // bytes a query
	Time      time.Duration // a query
	Threads   int           // a query
	MaxResult int64         // bytes of a query's result
}

// DefaultConfig is a durable store on ClickHouse's usual port.
func DefaultConfig() Config {
	return Config{
		Listen:         "127.0.0.1:8123",
		Database:       "muster",
		ServiceUser:    "muster",
		Sync:           true,
		MaxMemory:      4 << 30,
		MaxBody:        512 << 20,
		MaxServices:    16,
		MaxConnections: 4096,
		DrainTimeout:   10 * time.Second,
		Analysts: Limits{
			Queries: 3, Requests: 256, Query: 256 << 10, Patience: 20 * time.Second, Wait: 10 * time.Second, Memory: 1 << 30, Time: 30 * time.Second,
			Threads: max(1, runtime.NumCPU()/2), MaxResult: 128 << 20,
		},
	}
}

// withDefaults fills what is zero, so that a test may set only what it is about.
func (c Config) withDefaults() Config {
	d := DefaultConfig()
	fill(&c.Listen, d.Listen)
	fill(&c.Database, d.Database)
	fill(&c.ServiceUser, d.ServiceUser)
	fill(&c.MaxMemory, d.MaxMemory)
	fill(&c.MaxBody, d.MaxBody)
	fill(&c.MaxServices, d.MaxServices)
	fill(&c.MaxConnections, d.MaxConnections)
	fill(&c.DrainTimeout, d.DrainTimeout)
	fill(&c.Analysts.Queries, d.Analysts.Queries)
	fill(&c.Analysts.Requests, d.Analysts.Requests)
	fill(&c.Analysts.Query, d.Analysts.Query)
	fill(&c.Analysts.Patience, d.Analysts.Patience)
	fill(&c.Analysts.Wait, d.Analysts.Wait)
	fill(&c.Analysts.Memory, d.Analysts.Memory)
	fill(&c.Analysts.Time, d.Analysts.Time)
	fill(&c.Analysts.Threads, d.Analysts.Threads)
	fill(&c.Analysts.MaxResult, d.Analysts.MaxResult)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func fill[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Validate says what is wrong with the first bad field.
func (c Config) Validate() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen %q: %w", c.Listen, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("listen %q: the embedded store serves loopback only: use 127.0.0.1", c.Listen)
	}
	if c.DataDir == "" {
		return errors.New("data dir: empty")
	}
	if !identifier.MatchString(c.Database) {
		return fmt.Errorf("database %q: want a plain name", c.Database)
	}
	if c.ServiceSecret == "" {
		return errors.New("service secret: empty, so that everybody could write")
	}
	for name, v := range map[string]int64{
		"max memory": c.MaxMemory, "max body": c.MaxBody, "max services": int64(c.MaxServices), "drain timeout": int64(c.DrainTimeout),
		"analysts' queries": int64(c.Analysts.Queries), "analysts' requests": int64(c.Analysts.Requests), "analysts' query": c.Analysts.Query,
		"analysts' patience": int64(c.Analysts.Patience), "analysts' wait": int64(c.Analysts.Wait), "connections": int64(c.MaxConnections),
		"analysts' memory": c.Analysts.Memory,
		"analysts' time":   int64(c.Analysts.Time), "analysts' threads": int64(c.Analysts.Threads), "analysts' max result": c.Analysts.MaxResult,
	} {
		if v < 1 {
			return fmt.Errorf("%s: %d, want more than zero", name, v)
		}
	}
	return nil
}
