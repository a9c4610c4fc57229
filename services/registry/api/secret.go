package api

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"strings"
	"time"
)

// secretBytes is 160 bits: nobody finds one by trying, so its SHA-256 may stand in the log.
const secretBytes = 20

// newSecret makes what is shown once, in letters that are told apart on paper and over the telephone, and its hash.
func newSecret(prefix string) (secret string, hash [sha256.Size]byte) {
	random := make([]byte, secretBytes)
	_, _ = rand.Read(random) // does not fail: the process ends instead
	secret = prefix + strings.ToLower(base32.StdEncoding.EncodeToString(random))
	return secret, sha256.Sum256([]byte(secret))
}

// newID names what has a secret.
func newID(prefix string) string {
	random := make([]byte, 6)
	_, _ = rand.Read(random) // does not fail: the process ends instead
	return prefix + hex.EncodeToString(random)
}

// until is the end of a life that begins now.
func (a *API) until(seconds int64, unset, most time.Duration) (time.Time, error) {
	life := time.Duration(seconds) * time.Second
	switch {
	case seconds == 0:
		life = unset
	case seconds < 0 || seconds > int64(most/time.Second):
		return time.Time{}, unfit("life_seconds", "%d seconds: want 1 to %d, which is %d days", seconds, int64(most/time.Second), most/(24*time.Hour))
	}
	return a.now().Add(life).UTC().Truncate(time.Millisecond), nil
}
