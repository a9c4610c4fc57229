package authority

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
)

// minPassphrase is what a passphrase is refused below: the sealed file may be tried offline for years.
const minPassphrase = 16

// Seal closes private keys into files of the age format (age-encryption.org/v1), and opens them. The zero Seal does
// neither. One made of a recipient alone closes what only the holder of its identity, who is elsewhere, can open.
type Seal struct {
	recipient age.Recipient
	identity  age.Identity
}

// errCannotOpen is in the error for a file that this seal closes but does not open.
var errCannotOpen = errors.New("this seal closes and does not open")

// NewSeal makes an X25519 identity, as a line of text to be kept in a file that only its owner may read.
func NewSeal() (string, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return "", fmt.Errorf("make a seal: %w", err)
	}
	return identity.String(), nil
}

// ParseSeal reads an identity (AGE-SECRET-KEY-1...), which closes and opens, or a recipient (age1...), which closes.
// Lines that begin with # are passed over, so that a file of age-keygen serves.
func ParseSeal(text string) (Seal, error) {
	var found []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			found = append(found, line)
		}
	}
	if len(found) != 1 {
		return Seal{}, fmt.Errorf("seal: want one line AGE-SECRET-KEY-1... or age1..., have %d", len(found))
	}
	if strings.HasPrefix(found[0], "age1") {
		recipient, err := age.ParseX25519Recipient(found[0])
		if err != nil {
			return Seal{}, fmt.Errorf("seal: %w", err)
		}
		return Seal{recipient: recipient}, nil
	}
	identity, err := age.ParseX25519Identity(found[0])
	if err != nil {
		return Seal{}, errors.New("seal: the line is no X25519 identity of age (AGE-SECRET-KEY-1...)") // the cause would quote a secret
	}
	return Seal{recipient: identity.Recipient(), identity: identity}, nil
}

// ReadSeal reads ParseSeal's line from a file that only its owner may read.
func ReadSeal(path string) (Seal, error) {
	if err := checkPrivate(path); err != nil {
		return Seal{}, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Seal{}, fmt.Errorf("seal: %w", err)
	}
	seal, err := ParseSeal(string(text))
	if err != nil {
		return Seal{}, fmt.Errorf("%s: %w", path, err)
	}
	return seal, nil
}

// PassphraseSeal closes and opens by a passphrase, which scrypt makes slow to guess: opening takes about a second.
func PassphraseSeal(passphrase string) (Seal, error) {
	if len(passphrase) < minPassphrase {
		return Seal{}, fmt.Errorf("seal: a passphrase of %d characters, want at least %d: six words picked by dice will do", len(passphrase), minPassphrase)
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return Seal{}, fmt.Errorf("seal: %w", err)
	}
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return Seal{}, fmt.Errorf("seal: %w", err)
	}
	return Seal{recipient: recipient, identity: identity}, nil
}

// none says that there is no seal.
func (s Seal) none() bool { return s.recipient == nil }

func (s Seal) close(secret []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, s.recipient)
	if err == nil {
		_, err = w.Write(secret)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("seal a key: %w", err)
	}
	return out.Bytes(), nil
}

func (s Seal) open(sealed []byte) ([]byte, error) {
	if s.identity == nil {
		return nil, errCannotOpen
	}
	const most = 64 << 10 // a key has 4 KB at most
	r, err := age.Decrypt(bytes.NewReader(sealed), s.identity)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, most))
}
