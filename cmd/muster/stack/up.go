package stack

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"muster.dev/cmd/muster/supervise"
	"muster.dev/embedded/clickhouse"
	"muster.dev/fleet/simulator/world"
	"muster.dev/platform/warehouse"
	"muster.dev/services/registry/authority"
)

// Limits of time. The store's first start loads half a gigabyte of library from a cold disk.
const (
	startLimit = 90 * time.Second
	stopLimit  = 35 * time.Second
)

// Order is what `muster up` was asked for.
type Order struct {
	Dir     Dir
	Devices int
	World   *world.World // of the scenario that the devices live, instead of so many that send by the clock; nil is none
	Text    []byte       // the scenario's
	Region  string       // of the gateway; none takes every region's devices
	Offset  int          // of every port
	// Alertmanager is the URL of one that is told of incidents; empty tells nobody.
	Alertmanager string
	Version      string
	Out          io.Writer // what a person may copy
	Err          io.Writer // progress
}

// Up runs a stack until ctx ends, then stops it. What it made on the disk stays. An error before the stack was up
// says what to do; what had been started is stopped.
func Up(ctx context.Context, o Order) (err error) {
	ports, err := PortsAt(o.Offset)
	if err != nil {
		return err
	}
	if _, err := clickhouse.FindLibrary(); err != nil {
		return err
	}
	if err := o.Dir.create(); err != nil {
		return err
	}
	release, err := o.Dir.lock()
	if err != nil {
		return err
	}
	defer release()
	site := Site{Dir: o.Dir, Ports: ports, Devices: o.Devices, Region: o.Region, World: o.World, Alertmanager: o.Alertmanager}
	plan, names := o.plan()
	say := func(process, sentence string) { fmt.Fprintf(o.Err, "%-11s %s\n", process, sentence) }
	if err := o.Dir.endLeftovers(ctx, patience, say); err != nil {
		return err
	}
	if err := ports.checkFree(names, o.Offset); err != nil {
		return err
	}
	if err := prepare(site); err != nil {
		return err
	}
	if o.World != nil {
		if err := writeFile(o.Dir.scenario(), o.Text); err != nil {
			return err
		}
	}
	if err := writeJSON(o.Dir.RunFile("stack"), Instance{PID: os.Getpid(), Started: time.Now().UTC(), Ports: ports, Parts: names}); err != nil {
		return err
	}
	defer os.Remove(o.Dir.RunFile("stack"))

	sup, err := supervisor(o, say)
	if err != nil {
		return err
	}
	defer func() {
		// The stop begins where ctx ended: it has a time of its own, and ends early on a second signal.
		stop, cancel := hurried(context.WithoutCancel(ctx), echo)
		defer cancel()
		if ctx.Err() != nil {
			fmt.Fprintln(o.Err, "stopping; again Ctrl-C kills what is left")
		}
		if serr := sup.Stop(stop); err == nil && serr != nil {
			err = serr
		}
		for _, n := range names {
			os.Remove(o.Dir.RunFile(n))
		}
	}()
	for _, p := range plan {
		if err := begin(ctx, o, site, sup, p); err != nil {
			if ctx.Err() != nil {
				return nil // asked to stop meanwhile
			}
			return err
		}
	}
	if err := welcome(ctx, o, site); err != nil && ctx.Err() == nil {
		return err
	}
	renew(ctx, renewEvery, site.renewals(func() { sup.Restart(Fleet, "its devices have new certificates") }),
		func(sentence string) { say("up", sentence) })
	return nil
}

// plan is what is to run, and the names of it.
func (o Order) plan() (plan []Part, names []string) {
	plan = slices.DeleteFunc(parts(), func(p Part) bool { return p.Name == Fleet && o.Devices == 0 && o.World == nil })
	for _, p := range plan {
		names = append(names, p.Name)
	}
	return plan, names
}

// prepare makes what the processes read: the directory, secrets, certificates and configuration.
func prepare(s Site) error {
	if err := s.Dir.makeSecrets(); err != nil {
		return err
	}
	options, err := s.Dir.Authority()
	if err != nil {
		return err
	}
	ca, err := authority.Init(s.Dir.CA(), "", options...)
	if err != nil {
		return fmt.Errorf("making the certificate authority: %w", err)
	}
	if err := ensureServers(s.Dir, ca); err != nil {
		return err
	}
	s.TrustDomain = ca.TrustDomain()
	for _, p := range parts() {
		content, err := p.write(s)
		if err == nil {
			err = writeFile(s.Dir.Config(p.Name), append([]byte("# Written by `muster up` at each start.\n"), content...))
		}
		if err != nil {
			return fmt.Errorf("writing the configuration of %s: %w", p.Name, err)
		}
	}
	return nil
}

func supervisor(o Order, say func(process, sentence string)) (*supervise.Supervisor, error) {
	s := supervise.DefaultSettings()
	s.Say = say
	s.Changed = func(st supervise.State) {
		if err := writeJSON(o.Dir.RunFile(st.Name), st); err != nil {
			fmt.Fprintf(o.Err, "%-11s %v\n", st.Name, err)
		}
	}
	s.Held = o.Dir.held
	s.Stopped = func(process string) { os.Remove(o.Dir.RunFile(process)) }
	return supervise.New(s)
}

// begin starts one part, and does what must be done before the next.
func begin(ctx context.Context, o Order, s Site, sup *supervise.Supervisor, p Part) error {
	if p.Name == Fleet {
		say := func(sentence string) { fmt.Fprintf(o.Err, "%-11s %s\n", Fleet, sentence) }
		if err := s.EnrollFleet(ctx, s.simulated(), say); err != nil {
			return err
		}
	}
	began := time.Now()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	program := supervise.Program{
		Name: p.Name, Executable: self, Args: []string{"process", p.Name, "--config", o.Dir.Config(p.Name)},
		Ready: s.Ports.OpsURL(p.Name) + "/readyz", Log: o.Dir.Log(p.Name), StartLimit: startLimit, StopLimit: stopLimit,
	}
	if p.Name == Retention || p.Name == Anomaly {
		// A first pass may recompute months, a detector that was away reads what it missed, and nothing that a record meets waits for them.
		program.Alive = s.Ports.OpsURL(p.Name) + "/livez"
	}
	if err := sup.Start(ctx, program); err != nil {
		return err
	}
	fmt.Fprintf(o.Err, "%-11s ready in %s: %s\n", p.Name, time.Since(began).Round(10*time.Millisecond), p.Purpose)
	if p.Name == ClickHouse {
		return migrate(ctx, o, s)
	}
	return nil
}

// migrate makes the tables before anybody writes to them.
func migrate(ctx context.Context, o Order, s Site) error {
	w, err := warehouse.Open(Store(s.Dir, s.Ports))
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Migrate(ctx, func(line string) { fmt.Fprintf(o.Err, "%-11s %s\n", ClickHouse, line) }); err != nil {
		return err
	}
	missing, err := w.Missing(ctx)
	if err == nil && len(missing) > 0 {
		fmt.Fprintf(o.Err, "%-11s dropped since they were made: %s; `muster rebuild --yes` brings them back from the log\n", ClickHouse, strings.Join(missing, ", "))
	}
	return err
}
