package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"muster.dev/services/registry/authority"
)

// Dir is a local stack's data directory.
type Dir string

// DefaultDir is where a stack keeps its data unless told.
const DefaultDir Dir = ".muster"

// OpenDir makes d absolute, so that processes started elsewhere find it.
func OpenDir(path string) (Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("data directory %s: %w", path, err)
	}
	return Dir(abs), nil
}

func (d Dir) in(elem ...string) string { return filepath.Join(append([]string{string(d)}, elem...)...) }

// The places inside.
func (d Dir) Kafka() string                    { return d.in("kafka") }
func (d Dir) ClickHouse() string               { return d.in("clickhouse") }
func (d Dir) CA() string                       { return d.in("ca") }
func (d Dir) RootCertificate() string          { return d.in("ca", "root.pem") }
func (d Dir) ClientBundle() string             { return d.in("ca", authority.ClientsFile) }
func (d Dir) Certificate(server string) string { return d.in("tls", server+".pem") }
func (d Dir) Key(server string) string         { return d.in("tls", server+".key") }
func (d Dir) SecretFile(name string) string    { return d.in("secrets", name) }
func (d Dir) Config(process string) string     { return d.in("config", process+".yaml") }
func (d Dir) Log(process string) string        { return d.in("logs", process+".log") }
func (d Dir) RunFile(process string) string    { return d.in("run", process+".json") }
func (d Dir) Identities() string               { return d.in("fleet") }
func (d Dir) Identity(device string) string    { return d.in("fleet", device) }
func (d Dir) Demo() string                     { return d.in("demo") }

// Shown is the directory as a person would type it: relative where that is shorter.
func (d Dir) Shown() string { return Shown(string(d)) }

// Shown is a path as a person would type it in this working directory.
func Shown(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(wd, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return rel
}

// create makes the directory and those inside; one that others can look into is closed to them.
func (d Dir) create() error {
	for _, sub := range []string{"", "kafka", "clickhouse", "ca", "tls", "secrets", "config", "logs", "run", "fleet"} {
		path := d.in(sub)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return fmt.Errorf("making the data directory: %w (choose another with --data DIR)", err)
		}
		if err := os.Chmod(path, 0o700); err != nil {
			return fmt.Errorf("closing the data directory to others: %w (choose another with --data DIR)", err)
		}
	}
	return nil
}

// writeFile puts content at path whole or not at all.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600 from the first byte
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // fails once it has its name
	_, err = f.Write(content)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
