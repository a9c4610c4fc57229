package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"syscall"
)

// Exit codes of every process.
const (
	ExitOK     = 0 // asked to stop, stopped in order
	ExitFailed = 1 // failed, panicked, or did not stop in time
	ExitUsage  = 2 // wrong command line or configuration; nothing was started
)

// RunFunc builds a process: it starts rooms with p.Go and p.OnStop, the last one of the path first, and returns.
// The process then is ready and runs until it is asked to stop. An error stops what was started. ctx ends when
// the process is asked to stop. A RunFunc that calls p.Ready and returns p.Wait() does the same in its own words.
type RunFunc func(ctx context.Context, p *Process) error

// Main is the whole of a service's main function. cfg is a pointer to a struct of defaults; its field of type
// Config, if it has one, is what the process itself is configured by.
func Main(name string, cfg any, run RunFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	go func() { // for the life of the process: a second signal must end it at once
		<-ctx.Done()
		stop()
	}()
	os.Exit(Execute(ctx, Program{Name: name, Config: cfg, Run: run}, os.Args[1:], os.Stdout, os.Stderr))
}

const configUsage = "YAML `FILE`; MUSTER_<SECTION>_<KEY> in the environment overrides it"

// JobFunc does what a Job is for; say tells a person how far it is.
type JobFunc[C any] func(ctx context.Context, cfg C, say func(line string)) error

// Job is the whole of a main function that does one thing and ends: it is configured as a process is, and says on
// stderr what it does; nobody asks it how it is. cfg holds the defaults.
func Job[C any](name string, cfg C, do JobFunc[C]) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := ExecuteJob(ctx, name, cfg, do, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

// ExecuteJob reads the command line (--config FILE) and the configuration, does the job, and returns the exit code.
func ExecuteJob[C any](ctx context.Context, name string, cfg C, do JobFunc[C], args []string, stderr io.Writer) int {
	say := func(line string) { fmt.Fprintf(stderr, "%s: %s\n", name, line) }
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", "", configUsage)
	if err := flags.Parse(args); err != nil {
		return ExitUsage // Parse has said why
	}
	if flags.NArg() > 0 {
		say(fmt.Sprintf("unexpected argument %q", flags.Arg(0)))
		return ExitUsage
	}
	if err := Load(*path, &cfg, os.LookupEnv); err != nil {
		say(err.Error())
		return ExitUsage
	}
	if err := do(ctx, cfg, say); err != nil {
		say(err.Error())
		return ExitFailed
	}
	return ExitOK
}

// Program is what Execute runs.
type Program struct {
	Name      string
	Version   string // empty is the version of the build
	Config    any    // pointer to a struct that holds the defaults
	Run       RunFunc
	LookupEnv func(string) (string, bool) // nil is os.LookupEnv
}

// Execute reads the command line and the configuration, runs the program until ctx ends or it fails, and returns
// the exit code. Flags: --config FILE, --check (validate and exit), --dump (print the effective configuration).
func Execute(ctx context.Context, prog Program, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(prog.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", "", configUsage)
	check := flags.Bool("check", false, "validate the configuration and exit")
	dump := flags.Bool("dump", false, "print the effective configuration, secrets redacted, and exit")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return ExitOK
		}
		return ExitUsage
	}
	usage := func(err error) int {
		fmt.Fprintf(stderr, "%s: %v\n", prog.Name, err)
		return ExitUsage
	}
	if flags.NArg() > 0 {
		return usage(fmt.Errorf("unexpected argument %q", flags.Arg(0)))
	}
	lookup := prog.LookupEnv
	if lookup == nil {
		lookup = os.LookupEnv
	}
	if err := Load(*path, prog.Config, lookup); err != nil {
		return usage(err)
	}
	own := ownConfig(prog.Config)
	if err := own.Validate(); err != nil {
		return usage(fmt.Errorf("configuration: ops.%w", err))
	}
	if *dump {
		if err := Dump(stdout, prog.Config); err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", prog.Name, err)
			return ExitFailed
		}
		return ExitOK
	}
	if *check {
		fmt.Fprintln(stdout, "configuration is valid")
		return ExitOK
	}

	p, err := New(ctx, Settings{Name: prog.Name, Version: prog.Version, Config: own, Output: stderr})
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", prog.Name, err)
		return ExitFailed
	}
	if err := p.Run(prog.Run); err != nil {
		p.Log.Error("failed", "error", err)
		return ExitFailed
	}
	p.Log.Info("stopped")
	return ExitOK
}

// Run builds the process with run, says that it is ready, waits for its end and stops it.
func (p *Process) Run(run RunFunc) error {
	err := p.guard(p.name, func() error { return run(p.ctx, p) })
	switch {
	case err == nil:
		p.Ready()
	case errors.Is(err, context.Canceled) && p.ctx.Err() != nil:
		// asked to stop while it was still being built
	default:
		p.fail(err)
	}
	return p.Wait()
}

// ownConfig finds the operator's Config in the program's.
func ownConfig(cfg any) Config {
	v := reflect.ValueOf(cfg).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && f.Type == reflect.TypeFor[Config]() {
			return v.Field(i).Interface().(Config)
		}
	}
	return DefaultConfig()
}
