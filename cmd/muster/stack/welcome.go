package stack

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// welcome says where everything is, and gives a line to send a reading with and one to read it.
func welcome(ctx context.Context, o Order, s Site) error {
	if err := enrollDemo(ctx, s); err != nil {
		return err
	}
	demo := Shown(s.Dir.Demo())
	more := ""
	if s.Dir != mustDefault() {
		more = " --data " + s.Dir.Shown()
	}
	_, err := fmt.Fprintf(o.Out, `
The stack is up; Ctrl-C stops it. Its data and logs are in %[1]s.

  gateway      %[2]s  POST /v1/telemetry, client certificate
  registry     %[3]s   operators' API, token in %[4]s
  ClickHouse   %[5]s   database muster, read only without a password
  Kafka        %[6]s          SASL SCRAM-SHA-256, user reader, secret in %[7]s

Say something as a device:

  curl --cacert %[8]s/ca.pem --cert %[8]s/cert.pem --key %[8]s/key.pem -H 'Content-Type: application/json' \
    -d '{"boot":'$(date +%%s)',"seq":0,"readings":[{"ts":'$(date +%%s)'000,"metrics":{"temp_c":21.5}}]}' %[2]s/v1/telemetry

Read it a few seconds later:

  %[9]s query%[10]s "SELECT device, metric, ts, value FROM samples WHERE device = 'demo' ORDER BY ts DESC LIMIT 5"
`,
		s.Dir.Shown(), s.Ports.GatewayURL(), s.Ports.RegistryURL(), Shown(s.Dir.SecretFile(SecretOperator)), s.Ports.ClickHouseURL(),
		Loopback(s.Ports.Kafka), Shown(s.Dir.SecretFile(SecretKafkaReader)), demo, command(), more)
	if err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}

func mustDefault() Dir {
	d, err := OpenDir(string(DefaultDir))
	if err != nil {
		return DefaultDir
	}
	return d
}

// command is this program as a person would type it here.
func command() string {
	self, err := os.Executable()
	if err != nil {
		return "muster"
	}
	if shown := Shown(self); shown != self && filepath.Dir(shown) != "." {
		return shown
	}
	return self
}

// hurried is a context that a second signal ends.
func hurried(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}
