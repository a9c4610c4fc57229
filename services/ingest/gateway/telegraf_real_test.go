package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
)

const (
	telegrafBinary = "../../../bin/clients/telegraf"
	telegrafPage   = "../../../docs/telegraf.md"
)

// telegrafHere is the program that .ci/telegraf builds.
func telegrafHere(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(telegrafBinary)
	if err == nil {
		_, err = os.Stat(path)
	}
	switch {
	case err == nil:
		return path
	case !errors.Is(err, os.ErrNotExist):
		t.Fatal(err)
	case os.Getenv("CI") != "":
		t.Fatal("CI must have Telegraf: .ci/telegraf builds it")
	}
	t.Skip("SKIPPED: .ci/telegraf has not built Telegraf, so that docs/telegraf.md was not tried with it")
	return ""
}

// page is a configuration as docs/telegraf.md has it, by its first line.
func page(t *testing.T, title string) string {
	t.Helper()
	text, err := os.ReadFile(telegrafPage)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```toml\n# " + title + "\n(.*?)```").FindSubmatch(text)
	if found == nil {
		t.Fatalf("docs/telegraf.md has no configuration %q", title)
	}
	return string(found[1])
}

// telegraf runs it once over what its input has, and gives what it said.
func (s *site) telegraf(program, config, input string) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd, said := s.telegrafCommand(ctx, program, config, input, "--once")
	err := cmd.Run()
	return said.String(), err
}

// telegrafCommand is how it is started; what it says is to be read when it has ended.
func (s *site) telegrafCommand(ctx context.Context, program, config, input string, args ...string) (cmd *exec.Cmd, said *bytes.Buffer) {
	s.t.Helper()
	dir := s.t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
		return path
	}
	id := s.ca.Device("telegraf-1")
	config = strings.NewReplacer(
		"https://127.0.0.1:8443", "https://"+s.gateway.Addr(), "127.0.0.1:8883", s.gateway.MQTTAddr(),
		"telegraf-1/ca.pem", s.ca.CA(), "telegraf-1/cert.pem", id.Cert, "telegraf-1/key.pem", id.Key,
	).Replace(config)
	in := fmt.Sprintf("[[inputs.file]]\n  files = [%q]\n  data_format = \"influx\"\n", write("metrics", input))
	cmd = exec.CommandContext(ctx, program, append(args, "--config", write("telegraf.conf", config), "--config", write("input.conf", in))...)
	said = &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = said, said
	return cmd, said
}

func TestTelegrafAsItIsSpeaksForItsDevices(t *testing.T) {
	program := telegrafHere(t)
	s := open(t, nil, "telegraf-1", "boiler-7", "boiler-8", "stranger")
	s.said(event.ActingGranted{Agent: 1, Devices: []uint32{2, 3}})
	http, mqtt := page(t, "http"), page(t, "mqtt")
	const units = "  json_timestamp_units = \"1ms\"\n"
	json := strings.NewReplacer("  data_format = \"influx\"\n", "  data_format = \"json\"\n"+units, `"gzip"`, `"identity"`)
	influx := strings.NewReplacer(`"json"`, `"influx"`, units, "")
	batches := strings.NewReplacer(`"non-batch"`, `"batch"`, "qos = 1", "qos = 1\n  protocol = \"5\"")
	began := time.Now().Truncate(time.Second).Add(-time.Hour)
	for i, config := range []string{
		http,
		json.Replace(http),
		mqtt,
		influx.Replace(mqtt),
		batches.Replace(mqtt),
	} {
		at := began.Add(time.Duration(i) * time.Minute).UnixNano()
		input := fmt.Sprintf("env,device_id=boiler-7,room=B2 temp_c=%d.5,n=7i,ok=true,state=\"on\" %d\nenv,device_id=boiler-8,room=B2 temp_c=20 %d\n", i, at, at)
		// Each form comes twice, as after an answer that was not heard.
		for range 2 - i%2 {
			if said, err := s.telegraf(program, config, input); err != nil || strings.Contains(said, "E!") {
				t.Fatalf("configuration %d: %v\n%s", i, err, said)
			}
		}
		for device, want := range map[string][]string{
			"boiler-7": {"env_n_b2=7", "env_ok_b2=true", "env_state_b2=on", fmt.Sprintf("env_temp_c_b2=%d.5", i)},
			"boiler-8": {"env_temp_c_b2=20"},
		} {
			records, senders := s.of(record.TopicTelemetry, device)
			if len(records) != i+1 {
				t.Fatalf("configuration %d: %d records of %s", i, len(records), device)
			}
			var got []string
			for _, line := range show(t, records) {
				if values, ok := strings.CutSuffix(line, fmt.Sprintf("@%d keyed=false", at/1e6)); ok {
					got = append(got, strings.Fields(values)...)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("configuration %d: %s said %q, want %q", i, device, got, want)
			}
			if slices.Contains(senders, 0) {
				t.Errorf("configuration %d: sent by %v", i, senders)
			}
		}
	}
	// One that it may not speak for has the whole body refused, and Telegraf says so.
	input := fmt.Sprintf("env,device_id=boiler-7 temp_c=1 %d\nenv,device_id=stranger temp_c=1 %d\n", began.UnixNano(), began.UnixNano())
	if said, err := s.telegraf(program, http, input); err == nil || !strings.Contains(said, "403") {
		t.Errorf("%v\n%s", err, said)
	}
	if records, _ := s.of(record.TopicTelemetry, "stranger"); len(records) != 0 {
		t.Errorf("%d records of one that it may not speak for", len(records))
	}
	s.balanced()
}

// The form of it that takes a while: the program goes on through a log that does not answer.
func TestTelegrafLosesAndDoublesNothingWhileTheLogIsSilent(t *testing.T) {
	if os.Getenv("MUSTER_TORTURE") != "full" {
		t.Skip("only with MUSTER_TORTURE=full")
	}
	program := telegrafHere(t)
	s := open(t, func(c *gateway.Config) { c.AckTimeout = time.Second }, "telegraf-1", "boiler-7")
	s.said(event.ActingGranted{Agent: 1, Devices: []uint32{2}})
	const metrics = 900
	began := time.Now().Add(-time.Hour).Truncate(time.Second)
	var input strings.Builder
	for i := range metrics {
		fmt.Fprintf(&input, "env,device_id=boiler-7 n=%di %d\n", i, began.Add(time.Duration(i)*time.Second).UnixNano())
	}
	config := strings.NewReplacer(`"10s"`, `"500ms"`, "metric_batch_size = 1000", "metric_batch_size = 200").Replace(page(t, "http"))
	release := s.hold()
	cmd, said := s.telegrafCommand(t.Context(), program, config, input.String())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.eventually("Telegraf is not told that the outcome is open", func() bool { return s.answered("log-silent") >= 3*200 })
	release()
	s.eventually("what was read is not stored", func() bool {
		records, _ := s.of(record.TopicTelemetry, "boiler-7")
		return len(records) >= metrics
	})
	s.eventually("it does not go on", func() bool { return s.answered("duplicate") >= 4*metrics }) // the file is read over and over
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	records, _ := s.of(record.TopicTelemetry, "boiler-7")
	times := map[string]int{}
	for _, line := range show(t, records) {
		times[line]++
	}
	if len(records) != metrics || len(times) != metrics {
		t.Errorf("%d records of %d metrics, want %d", len(records), len(times), metrics)
	}
	s.balanced()
}
