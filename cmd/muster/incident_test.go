package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// dark is a cohort that loses its power and does not get it back, beside one that stays well. It ended a moment ago, so that
// the stack's own gateways go on with its time.
const dark = `
scenario: dark
about: Twelve of twenty pumps lose their power for good.
begins: %s
lasts: 14m
cohorts:
  - name: pumps
    devices: 20
    interval: 10s
    metrics: [{name: pressure, model: {base: 4.2, noise: 0.05}}]
    radio: {loss: 2%%}
  - name: fans
    devices: 20
    interval: 10s
    metrics: [{name: speed, model: {base: 1400, noise: 15}}]
    radio: {loss: 2%%}
faults:
  - {at: 6m, power-loss: {cohort: pumps, share: 60%%, brown-outs: 10}}
`

// told is an incident as the program shows it.
type told struct {
	ID         string            `json:"id"`
	State      string            `json:"state"`
	Kind       string            `json:"kind"`
	Cause      string            `json:"cause"`
	Why        string            `json:"why"`
	Subject    map[string]string `json:"subject"`
	Since      time.Time         `json:"since"`
	ResolvedAt *time.Time        `json:"resolved_at"`
	Revision   int               `json:"revision"`
	Count      int               `json:"count"`
	Runbook    string            `json:"runbook_url"`
	Acked      *struct {
		Who string `json:"who"`
	} `json:"acknowledged"`
}

// pumps is the incident of the cohort that lost its power.
func (l *local) pumps(t *testing.T) (told, error) {
	t.Helper()
	var all []told
	if err := json.Unmarshal([]byte(l.must(t, "incident", "list", "--all", "--kind", "silent-cohort", "--cohort", "pumps", "--json", "--data", "dark")), &all); err != nil {
		return told{}, err
	}
	if len(all) != 1 {
		return told{}, fmt.Errorf("%d incidents of the pumps: %+v", len(all), all)
	}
	return all[0], nil
}

func TestAPowerLossIsAnIncidentFromTheAlertToTheReplay(t *testing.T) {
	l := build(t)
	begins := time.Now().UTC().Add(-15 * time.Minute).Truncate(time.Minute)
	if err := os.WriteFile(filepath.Join(l.dir, "dark.yaml"), fmt.Appendf(nil, dark, begins.Format(time.RFC3339)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, said, code := l.muster(t.Context(), "simulate", "./dark.yaml", "--fast", "--no-store", "--beat", "5s", "--out", "dark"); code != 0 {
		t.Fatalf("simulate: exit %d: %s%s", code, out, said)
	}
	args := []string{"--data", "dark", "--devices", "0", "--region", "local"} // the region of the simulation, which goes on
	alerts := l.alertmanager(t)
	if alerts != "" {
		args = append(args, "--alertmanager", alerts)
	}
	l.start(t, args...)
	var i told
	l.eventually(t, "the cohort's incident tells of all that lost their power", func() (err error) {
		if i, err = l.pumps(t); err == nil && i.Count < 10 { // it opens with those that are missed first
			err = fmt.Errorf("%+v", i)
		}
		return err
	})
	lost := begins.Add(6 * time.Minute)
	if i.State != "open" || i.Cause != "power" || i.Since.Before(lost.Add(-time.Minute)) || i.Since.After(lost.Add(time.Minute)) || !strings.Contains(i.Runbook, "silent-cohort") {
		t.Errorf("the power went at %s: %+v", lost, i)
	}
	if alerts != "" {
		l.eventually(t, "Alertmanager shows it", func() error { return shown(alerts, i.ID, true) })
	}
	l.eventually(t, "the store has it", func() error {
		row := strings.TrimSpace(l.must(t, "query", "--data", "dark", "--format", "TSV", "SELECT count(), any(cause) FROM incidents WHERE id = '"+i.ID+"'"))
		if row != "1\tpower" {
			return fmt.Errorf("%q", row)
		}
		return nil
	})
	if text := l.must(t, "incident", "show", i.ID[:5], "--data", "dark"); !strings.Contains(text, "cause         power") || !strings.Contains(text, "thresholds") {
		t.Errorf("%s", text)
	}

	// Somebody takes it on, and the cohort is given up: that ends it.
	l.must(t, "incident", "ack", i.ID, "--why", "on my way", "--data", "dark")
	l.eventually(t, "it says who took it on", func() error {
		if i, err := l.pumps(t); err != nil || i.Acked == nil {
			return fmt.Errorf("%+v, %w", i, err)
		}
		return nil
	})
	l.must(t, "cohort", "revoke", "pumps", "--why", "the site is closed", "--yes", "--data", "dark")
	l.eventually(t, "it is resolved", func() error {
		if i, err := l.pumps(t); err != nil || i.State != "resolved" {
			return fmt.Errorf("%+v, %w", i, err)
		}
		return nil
	})
	if alerts != "" {
		l.eventually(t, "Alertmanager shows it no more", func() error { return shown(alerts, i.ID, false) })
	}
	if _, said, code := l.muster(t.Context(), "incident", "ack", i.ID, "--why", "late", "--data", "dark"); code != 2 || !strings.Contains(said, "resolved") {
		t.Errorf("a resolved one is taken on: exit %d: %s", code, said)
	}
	l.replays(t, i.ID)
}

// replays tells the incident once more, here and from a bundle at a place that knows nothing of the stack.
func (l *local) replays(t *testing.T, id string) {
	t.Helper()
	const identical = "byte for byte"
	if out, said, code := l.muster(t.Context(), "incident", "replay", id, "--data", "dark"); code != 0 || !strings.Contains(said, identical) || !strings.Contains(out, "likely cause: power") {
		t.Errorf("replay: exit %d: %s%s", code, out, said)
	}
	out, said, code := l.muster(t.Context(), "incident", "replay", id, "--data", "dark", "--what-if", "silence.missed=30", "--json")
	var answer struct {
		Told []told `json:"told"`
	}
	if err := json.Unmarshal([]byte(out), &answer); code != 0 || err != nil {
		t.Fatalf("what if: exit %d, %v: %s%s", code, err, out, said)
	}
	if len(answer.Told) > 0 && !answer.Told[0].Since.Before(time.Now()) {
		t.Errorf("%+v", answer.Told)
	}
	for _, wrong := range []string{"silence.mised=4", "silence.missed=-4", "silence.missed", "nonsense.key=1"} {
		if _, said, code := l.muster(t.Context(), "incident", "replay", id, "--data", "dark", "--what-if", wrong); code != 2 {
			t.Errorf("--what-if %s: exit %d: %s", wrong, code, said)
		}
	}
	l.must(t, "incident", "export", id, "--data", "dark", "--out", "bundle.tar.zst")
	if _, said, code := l.muster(t.Context(), "incident", "export", id, "--data", "dark", "--out", "bundle.tar.zst"); code != 2 {
		t.Errorf("a file that is there was overwritten: exit %d: %s", code, said)
	}
	out, said, code = l.muster(t.Context(), "incident", "replay", "--bundle", "bundle.tar.zst", "--data", "nowhere")
	if code != 0 || !strings.Contains(said, identical) {
		t.Errorf("from the bundle: exit %d: %s%s", code, out, said)
	}
	whole, err := os.ReadFile(filepath.Join(l.dir, "bundle.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, "half.tar.zst"), whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, said, code := l.muster(t.Context(), "incident", "replay", "--bundle", "half.tar.zst"); code != 1 || !strings.Contains(said, "no whole bundle") {
		t.Errorf("half a bundle: exit %d: %s", code, said)
	}
	if _, said, code := l.muster(t.Context(), "incident", "show", "inothingofit2", "--data", "dark"); code != 2 || !strings.Contains(said, "incident list") {
		t.Errorf("one that is not there: exit %d: %s", code, said)
	}
}

// alertmanager starts one, and gives its URL.
func (l *local) alertmanager(t *testing.T) string {
	t.Helper()
	if !inPath("prometheus-alertmanager") {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no Alertmanager: apt-get install prometheus-alertmanager")
		}
		t.Log("NOT TESTED: there is no Alertmanager (apt-get install prometheus-alertmanager)")
		return ""
	}
	config := filepath.Join(l.dir, "alertmanager.yml")
	if err := os.WriteFile(config, []byte("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("prometheus-alertmanager", "--config.file="+config, "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=", "--storage.path="+filepath.Join(l.dir, "alertmanager"))
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	read := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails once it has ended
		<-read
		_ = cmd.Wait()
	})
	listens := regexp.MustCompile(`address=(127\.0\.0\.1:[1-9][0-9]*)`)
	for lines := bufio.NewScanner(io.TeeReader(out, &said)); lines.Scan(); {
		if m := listens.FindStringSubmatch(lines.Text()); m != nil {
			go func() {
				defer close(read)
				_, _ = io.Copy(io.Discard, out) // until it ends
			}()
			return "http://" + m[1]
		}
	}
	close(read)
	t.Fatalf("Alertmanager does not listen:\n%s", said.String())
	return ""
}

// shown says whether Alertmanager shows an incident as active.
func shown(alerts, id string, want bool) error {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(alerts + "/api/v2/alerts?active=true")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var all []struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.Labels["incident"] != id {
			continue
		}
		if !want {
			return errors.New("it does")
		}
		if a.Labels["kind"] != "silent-cohort" || a.Labels["severity"] == "" || a.Annotations["runbook_url"] == "" || !strings.Contains(a.Annotations["summary"], "pumps") {
			return fmt.Errorf("%+v", a)
		}
		return nil
	}
	if want {
		return fmt.Errorf("%s is not among %s", id, text)
	}
	return nil
}
