package rehearsal

import (
	"context"
	"fmt"
	"time"

	"muster.dev/fleet/simulator/world"
	"muster.dev/platform/warehouse"
	"muster.dev/proto/record"
)

// ScopeOf finds the devices of a world, and the topics, in the store of a stack that runs.
func ScopeOf(ctx context.Context, house *warehouse.Warehouse, w *world.World) (Scope, error) {
	devices := w.Devices()
	index := make(map[string]int, len(devices))
	for i := range devices {
		index[devices[i].ID] = i
	}
	s := Scope{Numbers: make([]uint32, len(devices))}
	for _, topic := range []struct {
		name string
		gen  *uint16
	}{{record.TopicTelemetry, &s.Telemetry}, {record.TopicEvents, &s.Events}} {
		err := house.Conn().QueryRow(ctx, "SELECT toUInt16(max(JSONExtractUInt(body, 'gen'))) FROM muster.registry_events WHERE type = 'muster.registry.topic-defined.v1' AND JSONExtractString(body, 'name') = '"+topic.name+"'").Scan(topic.gen)
		if err != nil {
			return s, fmt.Errorf("asking the store for the topics: %w", err)
		}
	}
	rows, err := house.Conn().Query(ctx, "SELECT no, device FROM muster.devices")
	if err != nil {
		return s, fmt.Errorf("asking the store for the devices: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var no uint32
		var id string
		if err := rows.Scan(&no, &id); err != nil {
			return s, fmt.Errorf("asking the store for the devices: %w", err)
		}
		if i, ok := index[id]; ok {
			s.Numbers[i] = no
		}
	}
	return s, rows.Err()
}

// stillFor is how long a store is waited for that takes nothing more.
const stillFor = 2 * time.Minute

// Await waits until the store has so many messages of the scope, or has taken none for long: the report then says what is missing.
func Await(ctx context.Context, house *warehouse.Warehouse, scope Scope, messages uint64) error {
	h := hearing{scope: scope}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var last uint64
	for moved := time.Now(); ; {
		var n uint64
		err := house.Conn().QueryRow(ctx, "SELECT countIf(outcome = 'stored') FROM muster.ledger WHERE "+h.of(scope.Telemetry)+" OR "+h.of(scope.Events)).Scan(&n)
		if err != nil {
			return fmt.Errorf("asking how far the store is: %w", err)
		}
		if n > last {
			last, moved = n, time.Now()
		}
		if n >= messages || time.Since(moved) > stillFor {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
