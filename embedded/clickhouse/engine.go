package clickhouse

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"unsafe"
)

// engine is the library with one data path open. The first connection boots it and is kept to the end: closing the
// last one stops the engine.
type engine struct {
	lib    *library
	path   string
	keeper *conn
}

// running is the process's one engine: the library takes a second path only after the first was closed.
var running struct {
	sync.Mutex
	path string
}

func openEngine(lib *library, cfg Config) (*engine, error) {
	running.Lock()
	defer running.Unlock()
	if running.path != "" {
		return nil, fmt.Errorf("this process already runs the engine on %s, and it can run one: close it first, or use a database of its own in it", running.path)
	}
	path := filepath.Join(cfg.DataDir, "data")
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the engine's directory: %w", err)
	}
	settings := filepath.Join(cfg.DataDir, "engine.xml")
	if err := os.WriteFile(settings, engineXML(cfg, settings), 0o600); err != nil {
		return nil, fmt.Errorf("write the engine's configuration: %w", err)
	}
	e := &engine{lib: lib, path: path}
	keeper, err := e.connect("--config-file=" + settings)
	if err != nil {
		return nil, fmt.Errorf("start the engine on %s: %w", path, err)
	}
	e.keeper = keeper
	running.path = path
	return e, nil
}

func (e *engine) close() {
	running.Lock()
	defer running.Unlock()
	e.keeper.close()
	running.path = ""
}

// conn is one connection of the library. It runs one statement at a time and has the state of a session.
type conn struct {
	lib *library
	h   unsafe.Pointer // chdb_connection*
}

func (e *engine) connect(args ...string) (*conn, error) {
	args = append([]string{"clickhouse", "--path=" + e.path}, args...)
	argv := make([]unsafe.Pointer, 0, len(args)+1)
	for _, a := range args {
		argv = append(argv, unsafe.Pointer(&append([]byte(a), 0)[0]))
	}
	argv = append(argv, nil)
	h := e.lib.connect(int32(len(args)), unsafe.Pointer(&argv[0]))
	if h == nil {
		return nil, errors.New("the engine refused the connection: is the data directory damaged, or full?")
	}
	return &conn{lib: e.lib, h: h}, nil
}

func (c *conn) close() { c.lib.closeConn(c.h) }

func (c *conn) handle() unsafe.Pointer { return *(*unsafe.Pointer)(c.h) }

// text is a string as the library takes it: pointer and length, never an empty pointer.
func text(s string) (unsafe.Pointer, uintptr) {
	b := append([]byte(s), 0)
	return unsafe.Pointer(&b[0]), uintptr(len(s))
}

// result is what a query gave. Its bytes belong to the library until close.
type result struct {
	lib *library
	h   unsafe.Pointer
}

func (c *conn) result(h unsafe.Pointer) (result, error) {
	r := result{c.lib, h}
	if h == nil {
		return r, errors.New("the engine gave no result")
	}
	if msg := cString(c.lib.errorText(h)); msg != "" {
		r.close()
		return result{}, parseException(msg)
	}
	return r, nil
}

func (r result) bytes() []byte {
	p := r.lib.buffer(r.h)
	if p == nil {
		return nil
	}
	return unsafe.Slice((*byte)(p), r.lib.length(r.h))
}

func (r result) close() {
	if r.h != nil {
		r.lib.destroy(r.h)
	}
}

// query runs a statement and holds its whole result.
func (c *conn) query(sql, format string, params []param) (result, error) {
	q, ql := text(sql)
	f, fl := text(format)
	if len(params) == 0 {
		return c.result(c.lib.query(c.handle(), q, ql, f, fl))
	}
	n := newNames(params)
	return c.result(c.lib.queryParams(c.handle(), q, ql, f, fl, n.names, n.nameLens, n.values, n.valueLens, uintptr(len(params))))
}

// exec runs a statement for its effect.
func (c *conn) exec(sql string) error {
	r, err := c.query(sql, "TabSeparated", nil)
	if err != nil {
		return err
	}
	r.close()
	return nil
}

// stream runs a query and gives its result in chunks as the engine makes them, so that it need not fit in memory.
// Formats that frame their result (JSON, CSVWithNames) must not be streamed: each chunk is framed anew.
func (c *conn) stream(sql, format string, params []param, each func([]byte) error) error {
	q, ql := text(sql)
	f, fl := text(format)
	n := newNames(params)
	s, err := c.result(c.lib.stream(c.handle(), q, ql, f, fl, n.names, n.nameLens, n.values, n.valueLens, uintptr(len(params))))
	if err != nil {
		return err
	}
	defer s.close()
	for {
		chunk, err := c.result(c.lib.streamFetch(c.handle(), s.h))
		if err != nil {
			return err
		}
		b := chunk.bytes()
		if len(b) == 0 {
			chunk.close()
			return nil
		}
		err = each(b)
		chunk.close()
		if err != nil {
			c.lib.streamCancel(c.handle(), s.h)
			return err
		}
	}
}

// param is a value for {name:Type}, bound by the engine and never part of the text.
type param struct{ name, value string }

// names holds parameters as the library takes them.
type names struct {
	names, nameLens, values, valueLens unsafe.Pointer
}

func newNames(params []param) names {
	if len(params) == 0 {
		return names{}
	}
	n, nl := make([]unsafe.Pointer, len(params)), make([]uintptr, len(params))
	v, vl := make([]unsafe.Pointer, len(params)), make([]uintptr, len(params))
	for i, p := range params {
		n[i], nl[i] = text(p.name)
		v[i], vl[i] = text(p.value)
	}
	return names{unsafe.Pointer(&n[0]), unsafe.Pointer(&nl[0]), unsafe.Pointer(&v[0]), unsafe.Pointer(&vl[0])}
}
