package stack

import (
	"log/slog"
	"os"

	"muster.dev/platform/daemon"
)

// failStop ends the broker's process where it stands. An orderly stop would let the answer go out that must not, and
// write more to the disk that failed; the supervisor starts the broker again, which then has what it acknowledged.
func failStop(log *slog.Logger, dir string, err error) {
	log.Error("the log cannot be written: ending before anything of it is acknowledged; free space in "+dir+" or mend its disk", "error", err.Error())
	os.Exit(daemon.ExitFailed)
}
