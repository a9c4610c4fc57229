package verbs

import (
	"errors"

	"github.com/spf13/cobra"

	"muster.dev/fleet/scenario"
)

func (f *frame) playLive(_ *cobra.Command, _ *simulation, _ *scenario.Scenario) error {
	return errors.New("not yet")
}
