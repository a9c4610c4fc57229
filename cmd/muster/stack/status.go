package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"muster.dev/cmd/muster/supervise"
)

// PartStatus is one process as it is now.
type PartStatus struct {
	Name     string    `json:"name"`
	Ready    bool      `json:"ready"`
	Reason   string    `json:"reason,omitempty"` // why it is not ready
	Unready  time.Time `json:"unready,omitzero"` // since when
	PID      int       `json:"pid,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Restarts int       `json:"restarts"`
	Ops      string    `json:"ops"`
	Log      string    `json:"log"`
}

// Status is a running stack.
type Status struct {
	Ready      bool         `json:"ready"` // every part is
	PID        int          `json:"pid"`
	Started    time.Time    `json:"started"`
	Data       string       `json:"data"`
	Gateway    string       `json:"gateway"`
	MQTT       string       `json:"mqtt"`
	Registry   string       `json:"registry"`
	EST        string       `json:"est"` // where devices enrol
	ClickHouse string       `json:"clickhouse"`
	Kafka      string       `json:"kafka"`
	Parts      []PartStatus `json:"parts"`
	Findings   []Finding    `json:"findings"` // each part that is not ready, and what ready parts complain of
}

// Status asks each part of the stack that runs on d.
func (d Dir) Status(ctx context.Context) (Status, error) {
	i, err := d.Running()
	if err != nil {
		return Status{}, err
	}
	s := Status{
		Ready: true, PID: i.PID, Started: i.Started, Data: string(d),
		Gateway: i.Ports.GatewayURL(), MQTT: i.Ports.MQTTURL(), Registry: i.Ports.RegistryURL(), EST: i.Ports.ESTURL(), ClickHouse: i.Ports.ClickHouseURL(), Kafka: Loopback(i.Ports.Kafka),
		Parts: make([]PartStatus, len(i.Parts)),
	}
	found := make([][]Finding, len(i.Parts))
	var wg sync.WaitGroup
	for n, name := range i.Parts {
		wg.Go(func() { s.Parts[n], found[n] = d.part(ctx, i, name) })
	}
	wg.Wait()
	for _, p := range s.Parts {
		s.Ready = s.Ready && p.Ready
	}
	s.Findings = append([]Finding{}, slices.Concat(found...)...)
	return s, nil
}

// part asks one part whether it is ready, and what it says of itself.
func (d Dir) part(ctx context.Context, i Instance, name string) (PartStatus, []Finding) {
	p := d.ready(ctx, i, name)
	if !p.Ready {
		return p, []Finding{{Part: name, Says: p.Reason, Since: p.Unready, Runbook: runbookOf(name, p.Reason)}}
	}
	judge := watched[name]
	if judge == nil {
		return p, nil
	}
	m, err := ask(ctx, p.Ops)
	if err != nil {
		return p, []Finding{{Part: name, Says: fmt.Sprintf("its metrics: %v", err), Runbook: runbookIndex}}
	}
	found := judge(m, p.Log, time.Now())
	for n := range found {
		found[n].Part = name
	}
	return p, found
}

func (d Dir) ready(ctx context.Context, i Instance, name string) PartStatus {
	p := PartStatus{Name: name, Ops: i.Ports.OpsURL(name), Log: d.Log(name)}
	raw, err := os.ReadFile(d.RunFile(name))
	if err != nil {
		p.Reason = "not started yet, or stopped on request"
		return p
	}
	var st supervise.State
	if err := json.Unmarshal(raw, &st); err != nil {
		p.Reason = fmt.Sprintf("%s: %v", d.RunFile(name), err)
		return p
	}
	p.PID, p.Started, p.Restarts, p.Unready = st.PID, st.Started, st.Restarts, st.Unready
	if err := supervise.Ready(ctx, st.Ready); err != nil {
		p.Reason = strings.TrimPrefix(err.Error(), "not ready: ")
		if syscall.Kill(st.PID, 0) != nil {
			p.Reason = ended(supervise.LastLine(p.Log), roomy(filepath.Dir(p.Log)))
		}
		return p
	}
	p.Ready, p.Unready = true, time.Time{}
	return p
}

// ended is why a part that has ended is not ready. On a full disk its log could not take its last words.
func ended(lastLine string, room error) string {
	const says = "its process has ended and is to be started again; "
	if room != nil {
		return says + "disk: " + room.Error()
	}
	return says + "its log ends: " + lastLine
}
