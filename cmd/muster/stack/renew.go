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

// ensureServers sees to it that the gateway and the registry have certificates with a third of their life left. They
// read new ones by themselves while they run.
func ensureServers(d Dir, ca *authority.Authority) error {
	for _, server := range []string{Gateway, Registry} {
		if err := ca.EnsureServer(d.Certificate(server), d.Key(server), authority.LoopbackHosts...); err != nil {
			return fmt.Errorf("making the certificate of the %s: %w", server, err)
		}
	}
	return nil
}

// renewAuthority renews the issuing certificate, if the root's key is here, and then what it signed for the servers.
func (d Dir) renewAuthority(now time.Time) error {
	options, err := d.Authority()
	if err != nil {
		return fmt.Errorf("renewing certificates: %w", err)
	}
	_, due := authority.RenewIssuing(d.CA(), now, options...) // the old one goes on for now
	ca, err := authority.Open(d.CA(), options...)
	if err != nil {
		return fmt.Errorf("renewing certificates: %w", errors.Join(due, err))
	}
	return errors.Join(due, ensureServers(d, ca))
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

// renewals are the looks of a running stack: after the servers' certificates and the demo's, and after the simulated
// devices', which the fleet reads when it starts: again is called when they have new ones.
func (s Site) renewals(again func()) []func(context.Context) error {
	return []func(context.Context) error{
		func(context.Context) error { return s.Dir.renewAuthority(time.Now()) },
		func(ctx context.Context) error { return enrollDemo(ctx, s, func(string) {}) },
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
