package replay

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// BundleFormat is the version of the file.
const BundleFormat = 1

// manifestFile is the last entry: it says what the others must be.
const manifestFile = "manifest.json"

// Manifest says what a bundle holds.
type Manifest struct {
	Format     int       `json:"muster_incident_bundle"`
	Made       time.Time `json:"made"`
	By         string    `json:"by"` // version of Muster
	Incident   string    `json:"incident"`
	Title      string    `json:"title"`
	Detector   string    `json:"detector"`
	Partitions int32     `json:"partitions"`
	Until      int64     `json:"until_ms"` // event time up to which it can be replayed
	Settings   []byte    `json:"settings"` // of the detector, as it was configured
	Start      Start     `json:"start"`
	Files      []File    `json:"files"`
}

// File is one entry.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // hex
}

// names of entries: snapshots/shard-0, snapshots/judge, log/<topic>-<partition>.
var entryName = regexp.MustCompile(`^(snapshots/(judge|shard-[0-9]{1,5})|log/muster\.[a-z.0-9]{1,40}-[0-9]{1,5})$`)

func logEntry(topic string, part int32) string {
	return "log/" + topic + "-" + strconv.FormatInt(int64(part), 10)
}

// maxManifest and maxEntries bound what is read before anything is believed.
const (
	maxManifest = 16 << 20
	maxEntries  = 200_000

	// maxPartitions is what a replay in one process has room for: each has two folds' states and four logs.
	maxPartitions = 4_096
	maxWord       = 1 << 10 // bytes of a text that is shown
	readBuffer    = 8 << 10 // bytes of each log of each partition
)

// ErrBundle is in every error of a file that is no whole bundle.
var ErrBundle = errors.New("this is no whole bundle")

// Bundle is an opened one. Its entries lie in a directory of its own until Close.
type Bundle struct {
	Manifest
	dir string
}

// OpenBundle unpacks a bundle into a directory beside the system's temporary files. limit bounds the bytes that it unpacks to: a
// small file can unpack to a large one.
func OpenBundle(r io.Reader, limit int64) (_ *Bundle, err error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(256<<20), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	defer z.Close()
	dir, err := os.MkdirTemp("", "muster-bundle-")
	if err != nil {
		return nil, fmt.Errorf("a directory to unpack the bundle in: %w", err)
	}
	b := &Bundle{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	found, manifest, err := unpack(tar.NewReader(z), dir, limit)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(manifest))
	if err := dec.Decode(&b.Manifest); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrBundle, manifestFile, err)
	}
	return b, b.check(found)
}

// unpack writes each entry to a file that is named by its number: a name from a stranger becomes no path.
func unpack(t *tar.Reader, dir string, limit int64) (found []File, manifest []byte, err error) {
	left := limit
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrBundle, err)
		}
		switch {
		case h.Typeflag != tar.TypeReg:
			return nil, nil, fmt.Errorf("%w: the entry %.80q is no file", ErrBundle, h.Name)
		case manifest != nil:
			return nil, nil, fmt.Errorf("%w: %.80q comes after %s", ErrBundle, h.Name, manifestFile)
		case len(found) == maxEntries:
			return nil, nil, fmt.Errorf("%w: it has more than %d entries", ErrBundle, maxEntries)
		}
		if h.Name == manifestFile {
			if h.Size > maxManifest {
				return nil, nil, fmt.Errorf("%w: %s has %d bytes, above the limit of %d", ErrBundle, manifestFile, h.Size, maxManifest)
			}
			if manifest, err = io.ReadAll(io.LimitReader(t, maxManifest)); err != nil {
				return nil, nil, fmt.Errorf("%w: %s: %w", ErrBundle, manifestFile, err)
			}
			continue
		}
		if !entryName.MatchString(h.Name) {
			return nil, nil, fmt.Errorf("%w: the entry %.80q is unknown", ErrBundle, h.Name)
		}
		if left -= h.Size; h.Size < 0 || left < 0 {
			return nil, nil, fmt.Errorf("it unpacks to more than %d bytes: allow more with --max if you trust where it is from", limit)
		}
		f, err := unpackEntry(t, h.Name, filepath.Join(dir, strconv.Itoa(len(found))))
		if err != nil {
			return nil, nil, err
		}
		found = append(found, f)
	}
	if manifest == nil {
		return nil, nil, fmt.Errorf("%w: it has no %s, so it was cut short", ErrBundle, manifestFile)
	}
	return found, manifest, nil
}

func unpackEntry(r io.Reader, name, path string) (f File, err error) {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return f, fmt.Errorf("unpack %s: %w", name, err)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), r)
	if err = errors.Join(err, out.Close()); err != nil {
		return f, fmt.Errorf("%w: %s: %w", ErrBundle, name, err)
	}
	return File{Name: name, Bytes: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

func (b *Bundle) check(found []File) error {
	switch {
	case b.Format != BundleFormat:
		return fmt.Errorf("the bundle is of format %d, and this version of Muster reads %d: use the version that made it (%.40q)", b.Format, BundleFormat, b.By)
	case b.Partitions < 1 || b.Partitions > maxPartitions:
		return fmt.Errorf("%w: partitions %d, want 1 to %d", ErrBundle, b.Partitions, maxPartitions)
	case len(b.Start.Shards) != 0 && len(b.Start.Shards) != int(b.Partitions):
		return fmt.Errorf("%w: it begins with %d states of %d partitions", ErrBundle, len(b.Start.Shards), b.Partitions)
	case len(found) != len(b.Files):
		return fmt.Errorf("%w: it has %d entries and says %d", ErrBundle, len(found), len(b.Files))
	}
	for _, text := range []string{b.By, b.Incident, b.Title, b.Detector} {
		if len(text) > maxWord || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("%w: %s says %.80q, which is not fit to be shown", ErrBundle, manifestFile, text)
		}
	}
	for i, f := range b.Files {
		if found[i] != f {
			return fmt.Errorf("%w: %.80s is not what %s says it is", ErrBundle, found[i].Name, manifestFile)
		}
	}
	return nil
}

// Close removes what was unpacked.
func (b *Bundle) Close() error { return os.RemoveAll(b.dir) }

func (b *Bundle) open(name string) (*os.File, error) {
	i := slices.IndexFunc(b.Files, func(f File) bool { return f.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("%w: it has no %s", ErrBundle, name)
	}
	f, err := os.Open(filepath.Join(b.dir, strconv.Itoa(i)))
	if err != nil {
		return nil, fmt.Errorf("read %s of the bundle: %w", name, err)
	}
	return f, nil
}

// Read is Log's.
func (b *Bundle) Read(ctx context.Context, topic string, part int32, from int64, each func(*Record) error) error {
	f, err := b.open(logEntry(topic, part))
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, readBuffer)
	for {
		r, err := readRecord(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && r.Offset >= from {
			err = each(r)
		}
		if errors.Is(err, ErrEnough) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s of the bundle: %w", logEntry(topic, part), err)
		}
	}
}
