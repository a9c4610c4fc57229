package verbs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/scenarios"
	"muster.dev/fleet/simulator/world"
)

// scenario reads the scenario and makes it what the flags say.
func (o *simulation) scenario(cmd *cobra.Command, name string) (*scenario.Scenario, error) {
	s, err := readScenario(name)
	if err != nil {
		return nil, err
	}
	if o.weeks > 0 {
		s.Lasts = time.Duration(o.weeks) * 7 * 24 * time.Hour
	}
	if cmd.Flags().Changed("seed") {
		s.Seed = o.seed
	}
	if cmd.Flags().Changed("devices") {
		deal(s, o.devices)
	}
	for i := range s.Cohorts {
		s.Cohorts[i].Devices *= o.scale
	}
	if total := devicesOf(s); total > scenario.MaxDevices {
		return nil, fmt.Errorf("%d devices: want at most %d", total, scenario.MaxDevices)
	}
	return s, nil
}

func devicesOf(s *scenario.Scenario) (n int) {
	for i := range s.Cohorts {
		n += s.Cohorts[i].Devices
	}
	return n
}

// deal gives the cohorts n devices in the proportions that they have, and each at least one.
func deal(s *scenario.Scenario, n int) {
	total, given, sum := devicesOf(s), 0, 0
	for i := range s.Cohorts {
		sum += s.Cohorts[i].Devices
		upTo := n * sum / total
		s.Cohorts[i].Devices = max(1, upTo-given)
		given = upTo
	}
}

// readScenario reads a scenario of the library by its name, or a file.
func readScenario(name string) (*scenario.Scenario, error) {
	text, called, err := scenarioText(name)
	if err != nil {
		return nil, err
	}
	return scenario.Parse(called, text)
}

// readWorld is readScenario for whoever lets it live.
func readWorld(name string) (*world.World, []byte, error) {
	text, called, err := scenarioText(name)
	if err != nil {
		return nil, nil, err
	}
	s, err := scenario.Parse(called, text)
	if err != nil {
		return nil, nil, err
	}
	w, err := world.New(s, s.Seed)
	return w, text, err
}

func scenarioText(name string) (text []byte, called string, err error) {
	if strings.ContainsAny(name, "./\\") {
		if text, err = os.ReadFile(name); err != nil {
			return nil, "", fmt.Errorf("reading the scenario: %w", err)
		}
		return text, name, nil
	}
	if text, err = fs.ReadFile(scenarios.Files, name+".yaml"); err != nil {
		meant := ""
		if near := scenario.Nearest(name, library()); near != "" {
			meant = fmt.Sprintf("did you mean %s? ", near)
		}
		return nil, "", fmt.Errorf("the library has no scenario %s: %s`muster simulate list` shows all; name a file by its path, as ./%s.yaml", name, meant, name)
	}
	return text, name + ".yaml", nil
}

func library() (names []string) {
	files, err := fs.Glob(scenarios.Files, "*.yaml")
	if err != nil {
		return nil // the pattern is right
	}
	for _, file := range files {
		names = append(names, strings.TrimSuffix(file, ".yaml"))
	}
	return names
}

func scenarioCheck(f *frame) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE...",
		Short: "Say what is wrong with a scenario, and where",
		Long:  "Exit codes: 0 nothing; 2 a scenario cannot be used, with line, column and reason of all that is wrong.",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var errs []error
			for _, name := range args {
				s, err := readScenario(name)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				f.say("%s: %s, %s, %s", name, counting(len(s.Cohorts), "cohort"), counting(devicesOf(s), "device"), scenario.FormatSpan(s.Lasts))
			}
			if len(errs) > 0 {
				return misuse{errors.Join(errs...)}
			}
			return nil
		},
	}
}

// counting writes a number of things, of which one is named without an s.
func counting(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// listed is a line of `simulate list --json`.
type listed struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Devices int    `json:"devices"`
	Lasts   string `json:"lasts"`
}

func scenarioList(f *frame) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "The scenarios that come with this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			list := []listed{}
			for _, name := range library() {
				s, err := readScenario(name)
				if err != nil {
					return err
				}
				list = append(list, listed{name, s.About, devicesOf(s), scenario.FormatSpan(s.Lasts)})
			}
			if f.json {
				return f.printJSON(list)
			}
			t := tabwriter.NewWriter(f.Out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "SCENARIO\tDEVICES\tLASTS\tWHAT IT SHOWS")
			for _, l := range list {
				fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", l.Name, l.Devices, l.Lasts, l.About)
			}
			return t.Flush()
		},
	}
}
