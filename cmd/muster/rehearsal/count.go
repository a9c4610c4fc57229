package rehearsal

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"muster.dev/fleet/simulator/fast"
	"muster.dev/fleet/simulator/report"
	"muster.dev/fleet/simulator/world"
)

// Count puts together what the world told and what the store holds. The store must have settled.
func (r *Rehearsal) Count(ctx context.Context, w *world.World, told fast.Result) (report.Facts, error) {
	facts := TellFacts(w, told.Told, told.Lines)
	facts.Fast = true
	if err := Hear(ctx, r.house, w, &facts, Scope{Telemetry: fast.GenOfTelemetry, Events: fast.GenOfEvents, Numbers: told.Numbers}); err != nil {
		return facts, err
	}
	var err error
	facts.Disk.Log, err = sizeOf(r.settings.Dir.Kafka())
	return facts, err
}

// sizeOf is what lies below a directory.
func sizeOf(dir string) (total uint64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil {
			total += uint64(info.Size())
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("weighing %s: %w", dir, err)
	}
	return total, nil
}

// Scope says which rows of the store are the simulation's.
type Scope struct {
	Telemetry, Events uint16         // generations of the topics
	Numbers           []uint32       // of the devices, by index
	From              int64          // messages that came earlier are others', Unix ms
	Boots             uint32         // boots below are others'
	Real              bool           // the records' times are those of a clock
	index             map[uint32]int // device by number
}
