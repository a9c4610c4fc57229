package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"muster.dev/fleet/agent/wholefile"
)

// nextBoot counts a start, on the disk before anything is sent under its number. A counter that is not there begins at the
// time, or at floor if the clock is behind that, in seconds: so a device whose disk was wiped, whose earlier starts had
// lower numbers, does not use one of theirs for something else.
func nextBoot(path string, now, floor time.Time) (uint32, error) {
	var n uint64
	raw, err := os.ReadFile(path)
	if err == nil {
		if n, err = strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 32); err != nil {
			return 0, fmt.Errorf("boot counter %s: %w: write a number into it that is higher than any this device has used, or remove it", path, err)
		}
		n++
	} else if !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("boot counter: %w", err)
	} else {
		n = uint64(max(now.Unix(), floor.Unix(), 1))
	}
	if n > math.MaxUint32 {
		return 0, fmt.Errorf("boot counter %s has come to its end: enrol the device under another name", path)
	}
	if err := wholefile.Write(path, strconv.AppendUint(nil, n, 10), 0o600); err != nil {
		return 0, fmt.Errorf("boot counter: %w", err)
	}
	return uint32(n), nil
}
