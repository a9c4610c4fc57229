package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"muster.dev/fleet/agent"
	"muster.dev/fleet/agent/est"
	"muster.dev/fleet/agent/input"
)

// run does what the first argument says.
func run(ctx context.Context, args []string, env func(string) string, stdin *os.File, stdout, stderr io.Writer) error {
	verbs := map[string]func(context.Context, *settings, []string) error{
		"enrol": func(ctx context.Context, s *settings, _ []string) error {
			return s.enrol(ctx, env, stdin, stdout, stderr)
		},
		"run": func(ctx context.Context, s *settings, _ []string) error { return s.run(ctx, stdin, stderr) },
		"put": func(ctx context.Context, s *settings, rest []string) error {
			var lines io.Reader = stdin
			if len(rest) > 0 {
				lines = strings.NewReader(strings.Join(rest, " ") + "\n")
			}
			return s.ask(ctx, lines, stdout, stderr)
		},
		"status":  func(ctx context.Context, s *settings, _ []string) error { return s.status(ctx, stdout, stderr) },
		"version": func(context.Context, *settings, []string) error { return show(stdout) },
	}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return &misuse{errors.New("no verb")}
	}
	verb, ok := verbs[args[0]]
	if !ok {
		if args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
			fmt.Fprint(stdout, usage)
			return nil
		}
		fmt.Fprint(stderr, usage)
		return &misuse{fmt.Errorf("%q is no verb", args[0])}
	}
	s, rest, err := load(args[0], args[1:], env, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case len(rest) > 0 && args[0] != "put":
		return &misuse{fmt.Errorf("%s takes no %q", args[0], rest[0])}
	}
	return verb(ctx, s, rest)
}

// version is the module's, or the commit that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
			v = s.Value[:min(len(s.Value), 12)]
		}
	}
	return v
}

func show(stdout io.Writer) error {
	_, err := fmt.Fprintf(stdout, "muster-agent %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

func (s *settings) logger(stderr io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: s.level}))
}

func (s *settings) enrol(ctx context.Context, env func(string) string, stdin io.Reader, stdout, stderr io.Writer) error {
	c := est.Config{URL: s.EST, Line: s.line, Dir: s.Identity, Timeout: time.Minute}
	p := est.Proof{Device: s.device, Password: env(envPrefix + "PASSWORD"), CAFile: s.ca, Pin: s.pin}
	if s.passwordFile != "" {
		from := stdin
		if s.passwordFile != "-" {
			f, err := os.Open(s.passwordFile)
			if err != nil {
				return err
			}
			defer f.Close()
			from = f
		}
		raw, err := io.ReadAll(io.LimitReader(from, 1024))
		if err != nil {
			return fmt.Errorf("password: %w", err)
		}
		p.Password = strings.TrimSpace(string(raw))
	}
	if s.idevid != "" {
		pair, err := tls.LoadX509KeyPair(s.idevid, s.idevidKey)
		if err != nil {
			return fmt.Errorf("idevid: %w", err)
		}
		p.IDevID = &pair
	}
	if err := errors.Join(c.Validate(), p.Validate()); err != nil {
		return &misuse{err}
	}
	var id est.Identity
	err := est.Patiently(ctx, func(ctx context.Context) (err error) {
		id, err = est.Enrol(ctx, c, p)
		return err
	}, func(err error, wait time.Duration) {
		fmt.Fprintf(stderr, "muster-agent: not enrolled yet, again in %v: %v\n", wait.Round(time.Second), err)
	})
	if err != nil {
		return fmt.Errorf("not enrolled: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "%s is enrolled until %s; its identity is in %s\n", id.Device, id.Leaf().NotAfter.Format(time.DateOnly), s.Identity)
	return err
}

func (s *settings) run(ctx context.Context, stdin *os.File, stderr io.Writer) error {
	log := s.logger(stderr)
	if err := os.MkdirAll(s.State, 0o700); err != nil {
		return err
	}
	u, err := agent.NewObserved(s.firmware, s.firmwareFile, filepath.Join(s.State, "firmware"))
	if err != nil {
		return &misuse{err}
	}
	if err := s.Config.Validate(); err != nil {
		return &misuse{err}
	}
	a, err := agent.New(s.Config, version(), u, log)
	if err != nil {
		return err
	}
	status := func() any { return a.Status() }
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	inputs := make(chan error, 2)
	n := 1
	go func() {
		err := input.Serve(ctx, s.socket, a, status, log)
		if err != nil {
			cancel(err) // nobody can be heard
		}
		inputs <- err
	}()
	if s.stdin {
		n++
		go func() { inputs <- input.Stdin(ctx, stdin, stderr, a, status) }()
	}
	err = a.Run(ctx)
	cancel(nil)
	for range n {
		err = errors.Join(err, <-inputs)
	}
	return err
}
