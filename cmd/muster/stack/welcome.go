package stack

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"muster.dev/services/registry/client"
)

// welcome says where everything is, and gives a line to send a reading with and one to read it.
func welcome(ctx context.Context, o Order, s Site) error {
	say := func(sentence string) { fmt.Fprintf(o.Err, "%-11s %s\n", demoDevice, sentence) }
	if err := enrollDemo(ctx, s, say); err != nil {
		if ctx.Err() != nil || !usable(s.Dir.Demo(), time.Now()) {
			return err
		}
		say(err.Error()) // a renewal, which is tried again
	}
	demo := Shown(s.Dir.Demo())
	file := func(name string) string { return word(filepath.Join(demo, name)) }
	more := ""
	if s.Dir != mustDefault() {
		more = " --data " + word(s.Dir.Shown())
	}
	_, err := fmt.Fprintf(o.Out, `
The stack is up; Ctrl-C stops it. Its data and logs are in %[1]s.

  gateway      %[2]s  POST /v1/telemetry, client certificate
               %[14]s  MQTT 3.1.1 and 5, topics telemetry and events
  registry     %[3]s   operators' API, token in %[4]s
  enrolment    %[13]s  EST, /.well-known/est
  ClickHouse   %[5]s   database muster, read only without a password
  Kafka        %[6]s          SASL SCRAM-SHA-256, user reader, secret in %[7]s

Say something as a device:

  curl --cacert %[8]s --cert %[9]s --key %[10]s -H 'Content-Type: application/json' \
    -d '{"boot":'$(date +%%s)',"seq":0,"readings":[{"ts":'$(date +%%s)'000,"metrics":{"temp_c":21.5}}]}' %[2]s/v1/telemetry

Read it a few seconds later:

  %[11]s query%[12]s "SELECT device, metric, ts, value FROM samples WHERE device = 'demo' ORDER BY ts DESC LIMIT 5"
`,
		s.Dir.Shown(), s.Ports.GatewayURL(), s.Ports.RegistryURL(), Shown(s.Dir.SecretFile(SecretOperator)), s.Ports.ClickHouseURL(),
		Loopback(s.Ports.Kafka), Shown(s.Dir.SecretFile(SecretKafkaReader)),
		file(client.CAFile), file(client.CertFile), file(client.KeyFile), word(command()), more, s.Ports.ESTURL(), s.Ports.MQTTURL())
	if err == nil && s.World != nil {
		_, err = fmt.Fprintf(o.Out, "\nThe devices live %s. What happened to whom will be in %s when that ends, or is stopped.\n", s.World.Scenario().Name, Shown(s.Dir.truth()))
	}
	if err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}

// word is s as one word of a shell's command line.
func word(s string) string {
	plain := func(r rune) bool {
		return r < 128 && (unicode.IsLetter(r) || unicode.IsDigit(r)) || strings.ContainsRune("/._-+=:@%,", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
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

// echo is how long after the first signal another one is the same wish, told twice: a terminal tells the whole group
// of processes, and make or timeout tells its child besides.
const echo = time.Second

// hurried is a context that a second signal ends, unless it comes within the echo of the first, which was just now.
func hurried(ctx context.Context, echo time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	began := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-signals:
				if time.Since(began) > echo {
					cancel()
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return ctx, func() { cancel(); wg.Wait() }
}
