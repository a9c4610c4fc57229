package clickhouse

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// EnvLibrary names the environment variable that says where libchdb is.
const EnvLibrary = "MUSTER_CHDB_LIB"

// libraryMinSize tells a whole library (566 MB on linux/amd64) from a download that stopped half way: an ELF
// header survives a cut, so the header alone proves nothing.
const libraryMinSize = 100 << 20

// ErrNoLibrary is returned, wrapped, when no usable engine library was found.
var ErrNoLibrary = errors.New("the ClickHouse engine is not installed")

// relativeLibrary is where `npm ci` in embedded/engine puts the library.
func relativeLibrary() string {
	goarch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	name := "lib-linux-" + goarch + "-gnu"
	if runtime.GOOS == "darwin" {
		name = "lib-darwin-" + goarch
	}
	return filepath.Join("embedded", "engine", "node_modules", "@chdb", name, "libchdb.so")
}

// FindLibrary returns the path of a usable libchdb. MUSTER_CHDB_LIB wins and must then be right; else it is
// looked for in embedded/engine/node_modules, in the working directory and each directory above it, and beside
// the executable and each directory above that. The error says what to do.
func FindLibrary() (string, error) {
	if p := os.Getenv(EnvLibrary); p != "" {
		return p, checkLibrary(p)
	}
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		starts = append(starts, filepath.Dir(exe))
	}
	rel := relativeLibrary()
	for _, dir := range starts {
		for {
			p := filepath.Join(dir, rel)
			if _, err := os.Stat(p); err == nil {
				return p, checkLibrary(p)
			}
			up := filepath.Dir(dir)
			if up == dir {
				break
			}
			dir = up
		}
	}
	return "", fmt.Errorf("%w: %s is nowhere above %v: run `make engine`, or set %s to a libchdb.so", ErrNoLibrary, rel, starts, EnvLibrary)
}

// checkLibrary refuses what cannot be a whole shared library, with a sentence instead of the loader's crash.
func checkLibrary(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("%w: %w: run `make engine`", ErrNoLibrary, err)
	}
	if runtime.GOOS != "linux" {
		return nil
	}
	if st.Size() < libraryMinSize {
		return fmt.Errorf("%w: %s holds %d bytes, too few for the engine (a download that stopped?): run `make engine` again", ErrNoLibrary, path, st.Size())
	}
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%w: %s is no ELF library (%w): run `make engine` again", ErrNoLibrary, path, err)
	}
	defer f.Close()
	// The section headers lie at the end of the file: reading one of the last proves that the end is there.
	var end uint64
	for _, p := range f.Progs {
		end = max(end, p.Off+p.Filesz)
	}
	if uint64(st.Size()) < end {
		return fmt.Errorf("%w: %s ends at byte %d of %d: run `make engine` again", ErrNoLibrary, path, st.Size(), end)
	}
	return nil
}

// library holds libchdb's C functions. Handles are opaque pointers of the library.
type library struct {
	setSignalHandlers func(enabled int32)
	connect           func(argc int32, argv unsafe.Pointer) unsafe.Pointer // chdb_connection*
	closeConn         func(conn unsafe.Pointer)
	query             func(conn unsafe.Pointer, q unsafe.Pointer, ql uintptr, f unsafe.Pointer, fl uintptr) unsafe.Pointer
	queryParams       func(conn unsafe.Pointer, q unsafe.Pointer, ql uintptr, f unsafe.Pointer, fl uintptr, names, nameLens, values, valueLens unsafe.Pointer, n uintptr) unsafe.Pointer
	stream            func(conn unsafe.Pointer, q unsafe.Pointer, ql uintptr, f unsafe.Pointer, fl uintptr, names, nameLens, values, valueLens unsafe.Pointer, n uintptr) unsafe.Pointer
	streamFetch       func(conn, result unsafe.Pointer) unsafe.Pointer
	streamCancel      func(conn, result unsafe.Pointer)
	destroy           func(result unsafe.Pointer)
	buffer            func(result unsafe.Pointer) unsafe.Pointer
	length            func(result unsafe.Pointer) uintptr
	errorText         func(result unsafe.Pointer) unsafe.Pointer
	rowsRead          func(result unsafe.Pointer) uint64
	bytesRead         func(result unsafe.Pointer) uint64
	rowsWritten       func(result unsafe.Pointer) uint64
	bytesWritten      func(result unsafe.Pointer) uint64
	insert            func(conn unsafe.Pointer, q unsafe.Pointer, ql uintptr, f unsafe.Pointer, fl uintptr) unsafe.Pointer
	insertAppend      func(stream, data unsafe.Pointer, n uintptr) int32
	insertDone        func(stream unsafe.Pointer) unsafe.Pointer
	insertCancel      func(stream unsafe.Pointer)
	insertError       func(stream unsafe.Pointer) unsafe.Pointer
	insertDestroy     func(stream unsafe.Pointer)
}

var loaded struct {
	sync.Mutex
	path string
	lib  *library
}

// loadLibrary opens libchdb once for the life of the process: it cannot be unloaded (it starts threads).
func loadLibrary(path string) (*library, error) {
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.lib != nil {
		if loaded.path != path {
			return nil, fmt.Errorf("load %s: this process already runs the engine from %s", path, loaded.path)
		}
		return loaded.lib, nil
	}
	if err := checkLibrary(path); err != nil {
		return nil, err
	}
	if err := setZone(); err != nil {
		return nil, err
	}
	h, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("%w: load %s: %w: run `make engine` again", ErrNoLibrary, path, err)
	}
	lib := new(library)
	for name, fn := range map[string]any{
		"chdb_set_signal_handlers_enabled": &lib.setSignalHandlers,
		"chdb_connect":                     &lib.connect,
		"chdb_close_conn":                  &lib.closeConn,
		"chdb_query_n":                     &lib.query,
		"chdb_query_with_params_n":         &lib.queryParams,
		"chdb_stream_query_with_params_n":  &lib.stream,
		"chdb_stream_fetch_result":         &lib.streamFetch,
		"chdb_stream_cancel_query":         &lib.streamCancel,
		"chdb_destroy_query_result":        &lib.destroy,
		"chdb_result_buffer":               &lib.buffer,
		"chdb_result_length":               &lib.length,
		"chdb_result_error":                &lib.errorText,
		"chdb_result_rows_read":            &lib.rowsRead,
		"chdb_result_bytes_read":           &lib.bytesRead,
		"chdb_result_rows_written":         &lib.rowsWritten,
		"chdb_result_bytes_written":        &lib.bytesWritten,
		"chdb_stream_insert_n":             &lib.insert,
		"chdb_stream_append":               &lib.insertAppend,
		"chdb_stream_done":                 &lib.insertDone,
		"chdb_stream_cancel_insert":        &lib.insertCancel,
		"chdb_stream_insert_error":         &lib.insertError,
		"chdb_destroy_insert_stream":       &lib.insertDestroy,
	} {
		sym, err := purego.Dlsym(h, name)
		if err != nil {
			return nil, fmt.Errorf("%w: %s has no %s: run `make engine` for the pinned version: %w", ErrNoLibrary, path, name, err)
		}
		purego.RegisterFunc(fn, sym)
	}
	// Go owns the process's signals: with the library's handlers on, SIGSEGV and SIGTERM never reach Go.
	lib.setSignalHandlers(0)
	loaded.path, loaded.lib = path, lib
	return lib, nil
}

// setZone has the engine think in UTC, as production does, whatever zone the machine is in: the library takes
// <timezone> from TZ alone. Only C's environment is changed; Go's time.Local stays.
func setZone() error {
	libc, err := purego.Dlsym(purego.RTLD_DEFAULT, "setenv")
	if err != nil {
		return fmt.Errorf("find setenv: %w", err)
	}
	var setenv func(name, value string, overwrite int32) int32
	purego.RegisterFunc(&setenv, libc)
	if setenv("TZ", "UTC", 1) != 0 {
		return errors.New("set TZ for the engine")
	}
	return nil
}

// cString copies a NUL-terminated string of the library.
func cString(p unsafe.Pointer) string {
	if p == nil {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}
