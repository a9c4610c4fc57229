package gateway_test

import (
	"strings"
	"testing"

	"muster.dev/services/ingest/gateway"
)

func TestAConfigurationNamesItsBadKey(t *testing.T) {
	good := func() gateway.Config {
		c := gateway.DefaultConfig()
		c.TLS.Certificate, c.TLS.Key, c.TLS.ClientCA = "a", "b", "c"
		return c
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for key, change := range map[string]func(*gateway.Config){
		"listen":                       func(c *gateway.Config) { c.Listen = "8443" },
		"trust_domain":                 func(c *gateway.Config) { c.TrustDomain = "Muster/x" },
		"region":                       func(c *gateway.Config) { c.Region = "EU/west" },
		"tls.key":                      func(c *gateway.Config) { c.TLS.Key = "" },
		"ack_timeout":                  func(c *gateway.Config) { c.AckTimeout = 0 },
		"log.brokers":                  func(c *gateway.Config) { c.Log.Brokers = nil },
		"mqtt.listen":                  func(c *gateway.Config) { c.MQTT.Listen = "8883" },
		"mqtt.connections":             func(c *gateway.Config) { c.MQTT.Connections = 0 },
		"mqtt.connections_per_address": func(c *gateway.Config) { c.MQTT.ConnectionsPerAddress = -1 },
		"ops.listen":                   func(c *gateway.Config) { c.Ops.Listen = "x" },
		"limits.streams":               func(c *gateway.Config) { c.Limits.Streams = 0 },
		"limits.bytes_in_flight":       func(c *gateway.Config) { c.Limits.BytesInFlight = 1 },
		"limits.device_messages_burst": func(c *gateway.Config) { c.Limits.DeviceMessagesBurst = 0.5 },
	} {
		c := good()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
