package local

import (
	"strings"

	"muster.dev/fleet/edge/parcel"
	"muster.dev/proto/identity"
)

// parseTopic reads whose message a topic's is, empty for the client's own, and of which stream.
func parseTopic(topic string) (device identity.Device, s parcel.Stream, ok bool) {
	if topic == "v1/devices/me/telemetry" {
		return "", parcel.Telemetry, true
	}
	first, rest, more := strings.Cut(topic, "/")
	hono := false
	switch first {
	case "telemetry":
	case "events":
		s = parcel.Events
	case "t":
		hono = true
	case "e", "event":
		s, hono = parcel.Events, true
	default:
		return "", 0, false
	}
	if !more {
		return "", s, true
	}
	if hono { // t//{device}, or with a tenant between the slashes, of which there is one
		var tenant string
		if tenant, rest, ok = strings.Cut(rest, "/"); !ok || tenant != "" && tenant != "default" {
			return "", 0, false
		}
	}
	d, err := identity.ParseDevice(rest)
	return d, s, err == nil
}
