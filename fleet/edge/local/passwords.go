package local

import (
	"bufio"
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"muster.dev/proto/event"
)

// rounds of PBKDF2-HMAC-SHA512 for a password of people's (OWASP, Password Storage Cheat Sheet).
const rounds = 210_000

// maxRounds bounds what a line of the file can make a connection cost: about a second of a small machine.
const maxRounds = 1_000_000

const hashBytes = 64

// HashPassword writes the line of a password file: PBKDF2-HMAC-SHA512 in mosquitto_passwd's form, name:$7$rounds$salt$hash.
func HashPassword(name, password string) (string, error) {
	if !event.Name(name) {
		return "", fmt.Errorf("name %q: want 1 to 63 of a-z 0-9, or after the first also . _ -", name)
	}
	if password == "" {
		return "", fmt.Errorf("the password of %s is empty", name)
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	hash, err := pbkdf2.Key(sha512.New, password, salt, rounds, hashBytes)
	if err != nil {
		return "", fmt.Errorf("hashing a password: %w", err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s:$7$%d$%s$%s", name, rounds, b64(salt), b64(hash)), nil
}

// secret is one line of the file.
type secret struct {
	rounds     int
	salt, hash []byte
}

func (s secret) is(password []byte) bool {
	got, err := pbkdf2.Key(sha512.New, string(password), s.salt, s.rounds, len(s.hash))
	return err == nil && subtle.ConstantTimeCompare(got, s.hash) == 1
}

// parsePasswords reads a file; an error names its line and repeats nothing of it but the name.
func parsePasswords(text []byte) (map[string]secret, error) {
	out := map[string]secret{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hashed, _ := strings.Cut(line, ":")
		if !event.Name(name) {
			return nil, fmt.Errorf("line %d: the name is none of a device or a speaker", n)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("line %d: %s stands twice", n, name)
		}
		s, err := parseSecret(hashed)
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", n, name, err)
		}
		out[name] = s
	}
	return out, lines.Err()
}

func parseSecret(hashed string) (secret, error) {
	parts := strings.Split(hashed, "$")
	if len(parts) != 5 || parts[0] != "" || parts[1] != "7" {
		return secret{}, fmt.Errorf("want $7$rounds$salt$hash, as `muster edge password` and mosquitto_passwd write it")
	}
	var s secret
	var err error
	if s.rounds, err = strconv.Atoi(parts[2]); err != nil || s.rounds < 1 || s.rounds > maxRounds {
		return secret{}, fmt.Errorf("%q rounds: want 1 to %d", parts[2], maxRounds)
	}
	if s.salt, err = base64.StdEncoding.DecodeString(parts[3]); err != nil || len(s.salt) < 8 {
		return secret{}, fmt.Errorf("the salt is no base64 of at least 8 bytes")
	}
	if s.hash, err = base64.StdEncoding.DecodeString(parts[4]); err != nil || len(s.hash) < 32 || len(s.hash) > hashBytes {
		return secret{}, fmt.Errorf("the hash is no base64 of 32 to %d bytes", hashBytes)
	}
	return s, nil
}

// passwords are those of a file, read again when it changes.
type passwords struct {
	path string
	turn chan struct{} // what is hashed at once is bounded: a client decides how often it asks

	mu      sync.Mutex // over those below
	read    time.Time  // the file's time when it was read
	size    int64
	secrets map[string]secret
}

func openPasswords(path string) (*passwords, error) {
	p := &passwords{path: path, turn: make(chan struct{}, 2)}
	return p, p.refresh()
}

func (p *passwords) refresh() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := os.Stat(p.path)
	if err != nil {
		return fmt.Errorf("passwords: %w", err)
	}
	if info.ModTime().Equal(p.read) && info.Size() == p.size && p.secrets != nil {
		return nil
	}
	text, err := os.ReadFile(p.path)
	if err != nil {
		return fmt.Errorf("passwords: %w", err)
	}
	secrets, err := parsePasswords(text)
	if err != nil {
		return fmt.Errorf("passwords %s: %w", p.path, err)
	}
	p.secrets, p.read, p.size = secrets, info.ModTime(), info.Size()
	return nil
}

// nobody is hashed for a name that the file does not have, so that time does not tell which it has.
var nobody = secret{rounds, []byte("no such salt"), make([]byte, hashBytes)}

// knows says whether the password is the name's. A file that cannot be read leaves what was read before in force.
func (p *passwords) knows(name string, password []byte) (ok bool, trouble error) {
	trouble = p.refresh()
	p.mu.Lock()
	s, has := p.secrets[name]
	p.mu.Unlock()
	if !has {
		s = nobody
	}
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	return s.is(password) && has, trouble
}
