package identity

import (
	"fmt"
	"net/url"
	"strings"
)

// Device is a device's id within the trust domain: [a-z0-9][a-z0-9._-]{0,62}. It is the key of the device's
// records and what users see.
type Device string

const maxID = 63

// ParseDevice reads an id.
func ParseDevice(s string) (Device, error) {
	if s == "" {
		return "", fmt.Errorf("device id is empty: use 1 to %d of a-z 0-9 . _ -", maxID)
	}
	if len(s) > maxID {
		return "", fmt.Errorf("device id has %d bytes, the limit is %d", len(s), maxID)
	}
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if alnum || i > 0 && (c == '.' || c == '_' || c == '-') {
			continue
		}
		return "", fmt.Errorf("device id %q: byte %d must be one of a-z 0-9, or after the first also . _ -", s, i+1)
	}
	return Device(s), nil
}

// URI writes the SPIFFE id of a device.
func URI(trustDomain string, d Device) string {
	return "spiffe://" + trustDomain + "/device/" + string(d)
}

// ParseURI reads the SPIFFE id of a device of this trust domain from its text.
func ParseURI(trustDomain, uri string) (Device, error) {
	rest, ok := strings.CutPrefix(uri, "spiffe://")
	if !ok {
		return "", fmt.Errorf("identity %.200q: must begin with spiffe://", uri)
	}
	domain, path, ok := strings.Cut(rest, "/")
	if !ok || domain == "" || domain != trustDomain {
		return "", fmt.Errorf("identity %.200q: the trust domain must be %q", uri, trustDomain)
	}
	id, ok := strings.CutPrefix(path, "device/")
	if !ok {
		return "", fmt.Errorf("identity %.200q: the path must be /device/<id>", uri)
	}
	d, err := ParseDevice(id)
	if err != nil {
		return "", fmt.Errorf("identity %.200q: %w", uri, err)
	}
	return d, nil
}

// ParseURL reads a parsed URI SAN. net/url keeps what it was given in several fields, so the text is put together
// again and held to ParseURI: what String would escape or drop is refused.
func ParseURL(trustDomain string, u *url.URL) (Device, error) {
	if u == nil {
		return "", fmt.Errorf("identity: no URI")
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.RawFragment != "" || u.Opaque != "" || u.RawPath != "" {
		return "", fmt.Errorf("identity %.200q: only a trust domain and a path are allowed", u.Redacted())
	}
	return ParseURI(trustDomain, u.Scheme+"://"+u.Host+u.Path)
}
