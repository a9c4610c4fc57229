package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
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
	Registry   string       `json:"registry"`
	ClickHouse string       `json:"clickhouse"`
	Kafka      string       `json:"kafka"`
	Parts      []PartStatus `json:"parts"`
}

// Status asks each part of the stack that runs on d.
func (d Dir) Status(ctx context.Context) (Status, error) {
	i, err := d.Running()
	if err != nil {
		return Status{}, err
	}
	s := Status{
		Ready: true, PID: i.PID, Started: i.Started, Data: string(d),
		Gateway: i.Ports.GatewayURL(), Registry: i.Ports.RegistryURL(), ClickHouse: i.Ports.ClickHouseURL(), Kafka: Loopback(i.Ports.Kafka),
		Parts: make([]PartStatus, len(i.Parts)),
	}
	var wg sync.WaitGroup
	for n, name := range i.Parts {
		wg.Go(func() { s.Parts[n] = d.part(ctx, i, name) })
	}
	wg.Wait()
	for _, p := range s.Parts {
		s.Ready = s.Ready && p.Ready
	}
	return s, nil
}

func (d Dir) part(ctx context.Context, i Instance, name string) PartStatus {
	p := PartStatus{Name: name, Ops: i.Ports.OpsURL(name), Log: d.Log(name)}
	raw, err := os.ReadFile(d.RunFile(name))
	if err != nil {
		p.Reason = "not started yet"
		return p
	}
	var st supervise.State
	if err := json.Unmarshal(raw, &st); err != nil {
		p.Reason = fmt.Sprintf("%s: %v", d.RunFile(name), err)
		return p
	}
	p.PID, p.Started, p.Restarts = st.PID, st.Started, st.Restarts
	if err := supervise.Ready(ctx, st.Ready); err != nil {
		p.Reason = strings.TrimPrefix(err.Error(), "not ready: ")
		if syscall.Kill(st.PID, 0) != nil {
			p.Reason = "its process has ended and is to be started again; its log ends: " + supervise.LastLine(p.Log)
		}
		return p
	}
	p.Ready = true
	return p
}
