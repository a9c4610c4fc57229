package registry

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"muster.dev/platform/outage"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/writer"
)

// followEvery is how often the authority's files are looked at: a roll-over is taken up without a restart.
const followEvery = 10 * time.Second

// openAuthority opens the authority and says what should not stay as it is.
func openAuthority(cfg Config, log *slog.Logger) (*authority.Authority, error) {
	options := []authority.Option{authority.WithDeviceLife(cfg.DeviceLife)}
	if secret := cfg.CASeal.Reveal(); secret != "" {
		seal, err := authority.ParseSeal(secret)
		if err != nil {
			return nil, err
		}
		options = append(options, authority.WithSeal(seal))
	}
	ca, err := authority.Open(cfg.CA, options...)
	if err != nil {
		return nil, err
	}
	found, err := authority.Findings(cfg.CA, time.Now())
	if err != nil {
		return nil, err
	}
	for _, sentence := range found {
		log.Warn("certificate authority", "finding", sentence)
	}
	return ca, nil
}

// issuers writes into the log which certificates issue those of devices, so that they can be revoked there.
type issuers struct {
	ca     *authority.Authority
	writer *writer.Writer
	log    *slog.Logger
}

func (i issuers) run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	changed <- struct{}{}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_ = i.ca.Follow(ctx, followEvery, i.log, func() {
			select {
			case changed <- struct{}{}:
			default: // one look is to come as it is
			}
		})
	})
	faults := outage.New(100*time.Millisecond, 5*time.Second)
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
		for !i.announce(ctx) {
			if !outage.Pause(ctx, faults.Next()) {
				return nil
			}
		}
		faults.Over()
	}
}

// announce defines each issuer that the log does not name yet. The oldest comes first: the first one that a log names is
// taken for that of all certificates before. False is to be tried again, as on a standby.
func (i issuers) announce(ctx context.Context) bool {
	certs := i.ca.Issuers()
	slices.Reverse(certs)
	for _, cert := range certs {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := i.writer.Do(ctx, "registry", "an issuing certificate of the authority", decide.DefineIssuer{Certificate: cert.Raw})
		cancel()
		var refusal *decide.Refusal
		switch {
		case errors.As(err, &refusal):
			i.log.Error("an issuing certificate cannot be named in the log", "issuer", authority.ID(cert), "error", err)
		case err != nil:
			return false
		}
	}
	return true
}
