package stack

import "errors"

// Check says why Up would refuse at once, and starts and makes nothing: so that a taken port is told before the engine
// is fetched. The engine is not asked for.
func Check(o Order) error {
	ports, err := PortsAt(o.Offset)
	if err != nil {
		return err
	}
	if _, err := o.Dir.Running(); !errors.Is(err, ErrNotRunning) {
		return o.Dir.another()
	}
	_, names := o.plan()
	for _, name := range names {
		if o.Dir.leftover(name) != 0 {
			return nil // it has some of the ports, and Up waits for its end before it looks
		}
	}
	return ports.checkFree(names, o.Offset)
}
