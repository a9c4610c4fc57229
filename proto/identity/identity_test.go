package identity_test

import (
	"net/url"
	"strings"
	"testing"

	"muster.dev/proto/identity"
)

const domain = "fleet.example"

func TestADeviceIsItsURI(t *testing.T) {
	for _, id := range []string{"a", "0", "pump-17", "a.b_c-d", strings.Repeat("z", 63)} {
		d, err := identity.ParseDevice(id)
		if err != nil {
			t.Fatal(err)
		}
		got, err := identity.ParseURI(domain, identity.URI(domain, d))
		if err != nil || got != d {
			t.Errorf("%s became %s, %v", id, got, err)
		}
		u, err := url.Parse(identity.URI(domain, d))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := identity.ParseURL(domain, u); err != nil || got != d {
			t.Errorf("%s as a URL became %s, %v", id, got, err)
		}
	}
}

func TestWhatOnlyLooksLikeADeviceIsRefused(t *testing.T) {
	for _, uri := range []string{
		"", "spiffe://", "spiffe://fleet.example", "spiffe://fleet.example/", "spiffe://fleet.example/device",
		"spiffe://fleet.example/device/", "spiffe://fleet.example/device/A", "spiffe://fleet.example/device/a/b",
		"spiffe://fleet.example/device/a/", "spiffe://fleet.example/device/../device/a", "spiffe://fleet.example/device/.",
		"spiffe://fleet.example/device/..", "spiffe://fleet.example/device/-a", "spiffe://fleet.example/device/a%2fb",
		"spiffe://fleet.example/device/%61", "spiffe://fleet.example/device%2fa", "spiffe://fleet.example//device/a",
		"spiffe://fleet.example/DEVICE/a", "spiffe://FLEET.example/device/a", "SPIFFE://fleet.example/device/a",
		"https://fleet.example/device/a", "spiffe://fleet.example:443/device/a", "spiffe://u@fleet.example/device/a",
		"spiffe://u:p@fleet.example/device/a", "spiffe://fleet.example/device/a?x", "spiffe://fleet.example/device/a?",
		"spiffe://fleet.example/device/a#x", "spiffe://fleet.example/device/a\x00", "spiffe://fleet.example/device/a\n",
		"spiffe://fleet.example/device/é", "spiffe://fleet.example/device/" + strings.Repeat("a", 64),
		"spiffe://other.example/device/a", "spiffe://fleet.example/tenant/t/device/a", "spiffe:fleet.example/device/a",
	} {
		if d, err := identity.ParseURI(domain, uri); err == nil {
			t.Errorf("%q became %q", uri, d)
		}
		u, err := url.Parse(uri)
		if err != nil {
			continue
		}
		// net/url lowers a scheme and drops an empty fragment; such a text never gets so far as a certificate's URI.
		if d, err := identity.ParseURL(domain, u); err == nil && u.String() == uri {
			t.Errorf("%q as a URL became %q", uri, d)
		}
	}
	if _, err := identity.ParseURL(domain, nil); err == nil {
		t.Error("no URI is a device")
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add("spiffe://fleet.example/device/pump-17")
	f.Add("spiffe://fleet.example/device/a%2f..")
	f.Add("spiffe://fleet.example:1/device/a?b#c")
	f.Fuzz(func(t *testing.T, uri string) {
		d, err := identity.ParseURI(domain, uri)
		if err == nil && (identity.URI(domain, d) != uri || len(d) == 0 || len(d) > 63) {
			t.Fatalf("%q was read as %q", uri, d)
		}
		u, bad := url.Parse(uri)
		if bad != nil {
			return
		}
		if e, err := identity.ParseURL(domain, u); err == nil && identity.URI(domain, e) != strings.TrimSuffix(u.String(), "#") {
			t.Fatalf("%q was read as %q", u, e)
		}
	})
}
