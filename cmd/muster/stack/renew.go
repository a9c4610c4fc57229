package stack

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/client"
)

// renewEvery is how often the stack looks at its certificates. They are renewed with a third of their life left, so that
// a laptop may sleep for months in between.
const renewEvery = time.Hour

// ensureServer sees to it that the gateway has a certificate with a third of its life left. A gateway that runs reads
// the new one by itself.
func ensureServer(d Dir, ca *authority.Authority) error {
	if err := ca.EnsureServer(d.Certificate(Gateway), d.Key(Gateway), authority.LoopbackHosts...); err != nil {
		return fmt.Errorf("making the gateway's certificate: %w", err)
	}
	return nil
}

// renew looks after the certificates of a stack that runs until ctx ends. What fails is said once, and tried again.
func renew(ctx context.Context, every time.Duration, look []func(context.Context) error, say func(sentence string)) {
	said := make([]string, len(look))
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		for i, once := range look {
			err := once(ctx)
			if err == nil {
				said[i] = ""
			} else if sentence := err.Error(); ctx.Err() == nil && sentence != said[i] {
				said[i] = sentence
				say(sentence + "; trying again every " + every.String())
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// renewals are the looks of a running stack: after the gateway's certificate and the demo's, and after the simulated
// devices', which the fleet reads when it starts: again is called when they have new ones.
func (s Site) renewals(again func()) []func(context.Context) error {
	return []func(context.Context) error{
		func(context.Context) error {
			ca, err := authority.Open(s.Dir.CA())
			if err != nil {
				return fmt.Errorf("renewing the gateway's certificate: %w", err)
			}
			return ensureServer(s.Dir, ca)
		},
		func(ctx context.Context) error { return enrollDemo(ctx, s) },
		func(ctx context.Context) error {
			names := s.stale(s.simulated())
			if len(names) == 0 {
				return nil
			}
			if err := s.EnrollFleet(ctx, names, func(string) {}); err != nil {
				return err
			}
			if len(s.stale(names)) < len(names) {
				again()
			}
			return nil
		},
	}
}

// stale are those of the names whose identity is missing or needs a new certificate.
func (s Site) stale(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return fresh(s.Dir.Identity(name), time.Now()) })
}

// fresh says whether the identity in dir has a third of its life left.
func fresh(dir string, now time.Time) bool {
	cert, err := certificate(dir)
	return err == nil && now.Before(cert.NotAfter.Add(-cert.NotAfter.Sub(cert.NotBefore)/3))
}

// usable says whether there is an identity in dir that the gateway still takes.
func usable(dir string, now time.Time) bool {
	cert, err := certificate(dir)
	return err == nil && now.Before(cert.NotAfter)
}

func certificate(dir string) (*x509.Certificate, error) {
	raw, err := os.ReadFile(filepath.Join(dir, client.CertFile))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New("no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
