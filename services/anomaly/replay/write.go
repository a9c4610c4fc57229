package replay

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// ErrTooLarge is in the error of a bundle that would be larger than it may be.
var ErrTooLarge = errors.New("the bundle would be larger than it may be")

// Recorder is a log that keeps what is read from another, for a bundle. A replay over it reads just what the bundle needs.
type Recorder struct {
	from  Log
	dir   string
	limit int64

	mu    sync.Mutex          // over what follows
	kept  map[string][]string // files of an entry: one for each time that it was read
	names []string
	files int
	bytes int64
}

// NewRecorder keeps what is read in a directory beside the system's temporary files, at most limit bytes. Close removes it.
func NewRecorder(from Log, limit int64) (*Recorder, error) {
	dir, err := os.MkdirTemp("", "muster-record-")
	if err != nil {
		return nil, fmt.Errorf("a directory for a bundle's records: %w", err)
	}
	return &Recorder{from: from, dir: dir, limit: limit, kept: map[string][]string{}}, nil
}

// Close removes what was kept.
func (r *Recorder) Close() error { return os.RemoveAll(r.dir) }

// create opens one more file of an entry.
func (r *Recorder) create(name string) (*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	path := filepath.Join(r.dir, strconv.Itoa(r.files))
	r.files++
	if len(r.kept[name]) == 0 {
		r.names = append(r.names, name)
	}
	r.kept[name] = append(r.kept[name], path)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep %s: %w", name, err)
	}
	return f, nil
}

// weigh counts bytes against the limit.
func (r *Recorder) weigh(n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes += int64(n); r.bytes > r.limit {
		return fmt.Errorf("%w: more than %d bytes of records and states; allow more with --max", ErrTooLarge, r.limit)
	}
	return nil
}

// Read is Log's.
func (r *Recorder) Read(ctx context.Context, topic string, part int32, from int64, each func(*Record) error) (err error) {
	f, err := r.create(logEntry(topic, part))
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<16)
	defer func() { err = errors.Join(err, out.Flush(), f.Close()) }()
	var line []byte
	return r.from.Read(ctx, topic, part, from, func(rec *Record) error {
		line = appendRecord(line[:0], rec)
		if err := r.weigh(len(line)); err != nil {
			return err
		}
		if _, err := out.Write(line); err != nil {
			return fmt.Errorf("keep %s/%d: %w", topic, part, err)
		}
		return each(rec)
	})
}

// Keep adds an entry that is no log: a snapshot.
func (r *Recorder) Keep(name string, fill func(io.Writer) error) error {
	if !entryName.MatchString(name) {
		return fmt.Errorf("a bundle has no place for %q", name)
	}
	f, err := r.create(name)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}

// Write writes the bundle. What it holds is in m afterwards.
func (r *Recorder) Write(w io.Writer, m *Manifest) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("write a bundle: %w", err)
	}
	t := tar.NewWriter(z)
	m.Format, m.Files = BundleFormat, nil
	r.mu.Lock()
	names := slices.Clone(r.names)
	r.mu.Unlock()
	for _, name := range names {
		f, err := r.pack(t, name)
		if err != nil {
			return fmt.Errorf("write %s of a bundle: %w", name, err)
		}
		m.Files = append(m.Files, f)
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write a bundle: %w", err)
	}
	err = t.WriteHeader(&tar.Header{Name: manifestFile, Mode: 0o600, Size: int64(len(text)), Format: tar.FormatPAX})
	if err == nil {
		_, err = t.Write(text)
	}
	if err = errors.Join(err, t.Close(), z.Close()); err != nil {
		return fmt.Errorf("write a bundle: %w", err)
	}
	return nil
}

func (r *Recorder) pack(t *tar.Writer, name string) (File, error) {
	path, err := r.whole(name)
	if err != nil {
		return File{}, err
	}
	in, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return File{}, err
	}
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size(), Format: tar.FormatPAX}); err != nil {
		return File{}, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(t, sum), in)
	return File{Name: name, Bytes: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, err
}

// whole makes one file of what was read of a partition several times.
func (r *Recorder) whole(name string) (string, error) {
	files := r.kept[name]
	if len(files) == 1 {
		return files[0], nil
	}
	out, err := r.create(name)
	if err != nil {
		return "", err
	}
	w := bufio.NewWriterSize(out, 1<<16)
	err = errors.Join(merge(w, files), w.Flush(), out.Close())
	return out.Name(), err
}

// merge writes the records of several files, each in order of offset, once each.
func merge(w io.Writer, files []string) error {
	var in []*bufio.Reader
	var heads []*Record
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		in, heads = append(in, bufio.NewReaderSize(f, 1<<16)), append(heads, nil)
	}
	for last := int64(-1); ; {
		next := -1
		for i := range in {
			for heads[i] == nil || heads[i].Offset <= last {
				rec, err := readRecord(in[i])
				if errors.Is(err, io.EOF) {
					heads[i] = nil
					break
				}
				if err != nil {
					return err
				}
				heads[i] = rec
			}
			if heads[i] != nil && (next < 0 || heads[i].Offset < heads[next].Offset) {
				next = i
			}
		}
		if next < 0 {
			return nil
		}
		last = heads[next].Offset
		if _, err := w.Write(appendRecord(nil, heads[next])); err != nil {
			return err
		}
	}
}
