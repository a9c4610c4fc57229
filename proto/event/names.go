package event

import (
	"strconv"

	"muster.dev/proto/batch"
	"muster.dev/proto/identity"
)

// Bounds of a device's attributes, and of an interval.
const (
	MaxAttributes     = 32
	MaxAttributeKey   = 63
	MaxAttributeValue = 128                        // bytes
	MaxInterval       = 366 * 24 * 60 * 60 * 1_000 // ms
)

// Name says whether s can be a name in the registry: [a-z0-9][a-z0-9._-]{0,62}, as a device's id.
func Name(s string) bool {
	_, err := identity.ParseDevice(s)
	return err == nil
}

// AttributeKey says whether s can name an attribute: [a-z][a-z0-9_]{0,62}.
func AttributeKey(s string) bool {
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || i > 0 && ('0' <= c && c <= '9' || c == '_') {
			continue
		}
		return false
	}
	return s != "" && len(s) <= MaxAttributeKey
}

// AttributeValue says whether s can be an attribute's value: text of at most 128 bytes without control characters.
func AttributeValue(s string) bool { return len(s) <= MaxAttributeValue && plain(s) }

func notName(field, s string) *batch.Error {
	return bad(field, strconv.Quote(s[:min(len(s), 64)])+" must be 1 to 63 of a-z 0-9, or after the first also . _ -")
}

func checkName(field, s string) *batch.Error {
	if !Name(s) {
		return notName(field, s)
	}
	return nil
}

func checkNo(field string, no uint32) *batch.Error {
	if no == 0 {
		return bad(field, "must count from 1")
	}
	return nil
}

func checkAttributes(attributes map[string]string) *batch.Error {
	if len(attributes) > MaxAttributes {
		return refuse(batch.Unprocessable, "attributes", "are too many", MaxAttributes)
	}
	for key, value := range attributes {
		if !AttributeKey(key) {
			return bad("attributes", strconv.Quote(key[:min(len(key), 64)])+" must be a-z, then a-z, 0-9 or _, at most 63")
		}
		if !AttributeValue(value) {
			return refuse(batch.Unprocessable, "attributes."+key, "must be text without control characters", MaxAttributeValue)
		}
	}
	return nil
}
