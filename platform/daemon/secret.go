package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
)

const redacted = "[redacted]"

// Secret is a string that no log, dump or error shows: every formatting verb, JSON, YAML, text and slog print
// "[redacted]" (or nothing when it is empty). Reveal is the one way to the value.
//
// In a configuration a Secret field X stands beside a string field XFile (`x` and `x_file` in YAML); Load reads
// the file into X, before Validate.
type Secret string

// Reveal is the value itself. Call it where the secret is used, never to keep it.
func (s Secret) Reveal() string { return string(s) }

// String prints nothing of the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format covers each verb: %x of a string kind would else print the bytes.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'q' || (verb == 'v' && f.Flag('#')) {
		fmt.Fprintf(f, "%q", s.String())
		return
	}
	_, _ = f.Write([]byte(s.String()))
}

// MarshalText covers JSON and every text encoding.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML covers --dump.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue covers slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// maxSecret bounds a file of a secret: a key in PEM has a few KiB, and what is longer is another file.
const maxSecret = 64 << 10

// ReadSecret reads a secret from a file, without the newline that editors put at its end. A file that group or
// others may read, an empty one, one of more than 64 KiB and one that is no regular file are refused.
func ReadSecret(path string) (Secret, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("secret file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("secret file %s: not a regular file", path)
	}
	if loose := info.Mode().Perm() & 0o077; loose != 0 {
		return "", fmt.Errorf("secret file %s: mode %04o lets others use it, want 0600: %w", path, info.Mode().Perm(), fs.ErrPermission)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("secret file: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("secret file: %w", err)
	}
	if len(raw) > maxSecret {
		return "", fmt.Errorf("secret file %s: more than %d bytes, want the secret alone", path, maxSecret)
	}
	text := strings.TrimRight(string(raw), "\r\n")
	if text == "" {
		return "", fmt.Errorf("secret file %s: %w", path, errors.New("empty"))
	}
	return Secret(text), nil
}
