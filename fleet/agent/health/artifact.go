package health

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"muster.dev/proto/batch"
)

// MaxArtifact bounds what is kept of a crash report's file: its end, where a log has its cause.
const MaxArtifact = 16 << 10

// attach puts an artifact into an event's fields: artifact (its name), artifact_size (of the whole file),
// artifact_truncated, artifact_sha256 (of what is kept), artifact_encoding (text or base64) and the pieces artifact_00,
// artifact_01 and so on, which are put together in order of their names.
func attach(fields map[string]any, name string, kept []byte, size int64) {
	sum := sha256.Sum256(kept)
	fields["artifact"] = text(name, 128)
	fields["artifact_size"] = size
	fields["artifact_truncated"] = size > int64(len(kept))
	fields["artifact_sha256"] = hex.EncodeToString(sum[:])
	body, encoding := string(kept), "text"
	if !utf8.ValidString(body) || strings.ContainsRune(body, 0) {
		body, encoding = base64.StdEncoding.EncodeToString(kept), "base64"
	}
	fields["artifact_encoding"] = encoding
	for i := 0; body != ""; i++ {
		piece := clip(body, batch.MaxText)
		fields[fmt.Sprintf("artifact_%02d", i)] = piece
		body = body[len(piece):]
	}
}

// clip cuts valid UTF-8 to at most n bytes, between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// text is what others wrote as far as it can stand in a field: one line of valid UTF-8.
func text(s string, n int) string {
	s = strings.Map(func(c rune) rune {
		if c < 0x20 || c == 0x7f {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	return clip(strings.TrimSpace(s), n)
}
