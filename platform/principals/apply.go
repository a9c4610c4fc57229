package principals

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
)

// Config is what an operator sets for Apply.
type Config struct {
	Log     eventlog.Config `yaml:"log"`     // as the administrator
	Secrets string          `yaml:"secrets"` // folder with a file kafka-<name> for each principal
	// Wait is how long the log may take to answer.
	Wait time.Duration `yaml:"wait"`
}

// DefaultConfig is a stack's that is just being started.
func DefaultConfig() Config { return Config{Log: eventlog.DefaultConfig(), Wait: 2 * time.Minute} }

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if err := c.Log.Validate(); err != nil {
		return fmt.Errorf("log.%w", err)
	}
	if c.Secrets == "" {
		return errors.New("secrets: want the folder with the principals' secrets")
	}
	if c.Wait <= 0 {
		return fmt.Errorf("wait %v: want more than 0s", c.Wait)
	}
	return nil
}

// Apply reads the principals' secrets and does Ensure, again and again until the log takes it. say is told what is
// waited for.
func Apply(ctx context.Context, cfg Config, say func(line string)) error {
	secrets := map[string]string{}
	for _, name := range Names() {
		secret, err := daemon.ReadSecret(filepath.Join(cfg.Secrets, "kafka-"+name))
		if err != nil {
			return fmt.Errorf("principal %s: %w", name, err)
		}
		secrets[name] = secret.Reveal()
	}
	cl, err := kgo.NewClient(cfg.Log.Options()...)
	if err != nil {
		return fmt.Errorf("client of the log: %w", err)
	}
	defer cl.Close()
	exp := backoff.NewExponentialBackOff()
	exp.InitialInterval, exp.MaxInterval = 200*time.Millisecond, 3*time.Second
	exp.MaxElapsedTime = cfg.Wait // one shot: a start of the stack waits for it, and an operator reads why it failed
	return backoff.RetryNotify(func() error { return Ensure(ctx, cl, secrets) }, backoff.WithContext(exp, ctx),
		func(err error, wait time.Duration) {
			if !errors.Is(err, context.Canceled) {
				say(fmt.Sprintf("%v; again in %s", err, wait.Round(time.Millisecond)))
			}
		})
}
