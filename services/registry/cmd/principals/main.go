// Command principals gives the log its users and their rights, once, at the start of an installation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/principals"
)

// config names the administrator and where every principal's secret lies: one file kafka-<name> each.
type config struct {
	Log     eventlog.Config `yaml:"log"`
	Secrets string          `yaml:"secrets"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "principals:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("principals", flag.ContinueOnError)
	path := flags.String("config", "", "YAML `FILE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg := config{Log: eventlog.DefaultConfig()}
	if err := daemon.Load(*path, &cfg, os.LookupEnv); err != nil {
		return err
	}
	secrets := map[string]string{}
	for _, name := range []string{principals.Gateway, principals.Sink, principals.Registry, principals.Reader} {
		secret, err := daemon.ReadSecret(filepath.Join(cfg.Secrets, "kafka-"+name))
		if err != nil {
			return err
		}
		secrets[name] = secret.Reveal()
	}
	cl, err := kgo.NewClient(cfg.Log.Options()...)
	if err != nil {
		return fmt.Errorf("client of the log: %w", err)
	}
	defer cl.Close()
	// A start of the stack waits for this: give up after two minutes and let the operator read why.
	bo := backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(2 * time.Minute))
	return backoff.RetryNotify(func() error { return principals.Ensure(ctx, cl, secrets) }, backoff.WithContext(bo, ctx),
		func(err error, wait time.Duration) {
			if !errors.Is(err, context.Canceled) {
				fmt.Fprintf(os.Stderr, "principals: %v; again in %s\n", err, wait.Round(time.Millisecond))
			}
		})
}
