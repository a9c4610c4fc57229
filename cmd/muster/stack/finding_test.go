package stack

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"muster.dev/cmd/muster/supervise"
)

// say serves what a part's ops address says.
func say(t *testing.T, d Dir, i *Instance, part, unready, metrics string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/metrics":
			fmt.Fprint(w, metrics)
		case unready != "":
			http.Error(w, unready, http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	i.Ports.Ops[part], i.Parts = port, append(i.Parts, part)
	st := supervise.State{Name: part, PID: os.Getpid(), Started: time.Now(), Ready: server.URL + "/readyz"}
	if unready != "" {
		st.Unready = time.Now().Add(-time.Minute)
	}
	if err := writeJSON(d.RunFile(part), st); err != nil {
		t.Fatal(err)
	}
}

func TestStatusSaysWhatIsWrongSinceWhenAndWhatToRead(t *testing.T) {
	d := newDir(t)
	release, err := d.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	began := time.Now()
	i := Instance{PID: os.Getpid(), Started: began, Ports: Ports{Ops: map[string]int{}}}
	say(t, d, &i, Kafka, `{"status":"unready","failed":[{"name":"disk","error":"12 MiB are free where kafka lies"}]}`, "")
	say(t, d, &i, ClickHouse, "", "")
	say(t, d, &i, Sink, "", "muster_sink_open_plan_seconds 61\nmuster_sink_parked_partitions 2\n"+
		"# TYPE muster_sink_alarms_total counter\nmuster_sink_alarms_total{kind=\"refused\"} 3\nmuster_sink_alarms_total{kind=\"count\"} 0\n")
	say(t, d, &i, Retention, "", fmt.Sprintf("muster_rollup_last_pass_timestamp_seconds %d\n", time.Now().Add(-time.Hour).Unix()))
	say(t, d, &i, Anomaly, "", "muster_anomaly_parked_partitions 1\nmuster_anomaly_delivery_oldest_seconds{route=\"pager\"} 3601\nmuster_anomaly_delivery_oldest_seconds{route=\"hook\"} 0\n")
	say(t, d, &i, Gateway, "", "muster_roster_age_seconds 0.1\nmuster_roster_failures_total{step=\"fetch\"} 5\n")
	if err := writeJSON(d.RunFile("stack"), i); err != nil {
		t.Fatal(err)
	}
	log := `{"time":"2026-11-22T03:00:00Z","msg":"alarm: the store refuses a block","error":"UNKNOWN_TABLE"}` + "\n" +
		`{"time":"2026-11-22T03:01:00Z","msg":"alarm: the store refuses a block","error":"READONLY"}` + "\n" + `{"time":"2026-11-22T03:02:00Z","msg":"stored"}` + "\n"
	if err := os.WriteFile(d.Log(Sink), []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}

	s, err := d.Status(t.Context())
	if err != nil || s.Ready {
		t.Fatalf("ready %v, %v", s.Ready, err)
	}
	want := []struct{ part, says, runbook string }{
		{Kafka, "disk: 12 MiB are free", runbookDisk},
		{Sink, "one plan for 1m1s", runbookLag},
		{Sink, "2 partitions stand still", runbookAlarm},
		{Sink, "3 of kind refused; the last: the store refuses a block: READONLY", runbookAlarm},
		{Retention, "the last pass over the roll-ups", runbookLag},
		{Anomaly, "1 of its partitions stand still", runbookDetect},
		{Anomaly, "not got rid of an incident for 1h0m1s", runbookTold},
	}
	if len(s.Findings) != len(want) {
		t.Fatalf("%+v", s.Findings)
	}
	for n, w := range want {
		if f := s.Findings[n]; f.Part != w.part || !strings.Contains(f.Says, w.says) || f.Runbook != w.runbook {
			t.Errorf("%+v, want %v", f, w)
		}
	}
	took := time.Since(began)
	for n, ago := range map[int]time.Duration{0: time.Minute, 1: 61 * time.Second} {
		if got, at := s.Findings[n].Since, began.Add(-ago); got.Before(at) || got.Sub(at) > took {
			t.Errorf("%s: since %v, want %v or at most %v later", s.Findings[n].Says, got, at, took)
		}
	}
	if got, at := s.Findings[3].Since, time.Date(2026, 11, 22, 3, 1, 0, 0, time.UTC); !got.Equal(at) {
		t.Errorf("%s: since %v, want %v", s.Findings[3].Says, got, at)
	}
}

func TestAPartThatEndedOnAFullDiskIsSentToTheDisksRunbook(t *testing.T) {
	if got := runbookOf(Kafka, ended("kafka serves", nil)); got != runbookLag {
		t.Error(got)
	}
	if got := runbookOf(Kafka, ended("kafka serves", errors.New("0 MiB are free"))); got != runbookDisk {
		t.Error(got)
	}
}

func TestEachRunbookThatStatusNamesIsThere(t *testing.T) {
	for _, page := range []string{runbookIndex, runbookLag, runbookAlarm, runbookDisk, runbookTables} {
		if _, err := os.Stat("../../../" + page); err != nil {
			t.Error(err)
		}
	}
	for reason, want := range map[string]string{
		"disk: 3 MiB are free": runbookDisk, "its process has ended; its log ends: the log cannot be written": runbookDisk,
		"insert: UNKNOWN_TABLE": runbookTables, "no answer": runbookLag,
	} {
		if got := runbookOf(Sink, reason); got != want {
			t.Errorf("%s: %s, want %s", reason, got, want)
		}
	}
}
