package edge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"muster.dev/fleet/edge/intake"
)

const bootName = "boot"

// nextBoot gives this run a number that no earlier one of the directory had, and remembers it before it is used. It is the
// time in seconds, so that another edge, or a device that counts its own runs from 1, is not likely to have it for the
// same device; and where the count within the run begins is a matter of chance, so that two edges that were switched on in
// one second do not say the same of a device that moved from one to the other.
func nextBoot(dir string, now time.Time) (boot uint32, first uint64, err error) {
	path := filepath.Join(dir, bootName)
	last := uint32(0)
	switch text, err := os.ReadFile(path); {
	case err == nil && len(text) == 4:
		last = binary.BigEndian.Uint32(text)
	case err == nil:
		return 0, 0, fmt.Errorf("%s has %d bytes: it is damaged; without it a run could be counted as an earlier one", path, len(text))
	case !errors.Is(err, fs.ErrNotExist):
		return 0, 0, fmt.Errorf("the number of the last run: %w", err)
	}
	if boot = uint32(max(now.Unix(), 0)); boot <= last {
		boot = last + 1 // the clock was set back, or the edge starts twice in a second
	}
	if err := replaceFile(path, binary.BigEndian.AppendUint32(nil, boot)); err != nil {
		return 0, 0, fmt.Errorf("the number of this run: %w", err)
	}
	return boot, rand.Uint64N(intake.MaxSeq), nil
}

// replaceFile writes a file so that after a power cut there is the old one or the new one.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // which is gone when all went well
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
