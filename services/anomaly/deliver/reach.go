package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"syscall"
	"time"
)

// checkURL refuses what no request is ever made of.
func checkURL(raw string, plain bool) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("want a URL")
	case u.Host == "" || u.Hostname() == "":
		return errors.New("want a URL with a host")
	case u.User != nil:
		return errors.New("a name or password does not belong into a URL")
	case u.Fragment != "":
		return errors.New("a fragment is not sent")
	case u.Scheme == "http" && !plain:
		return errors.New("http shows what is sent to whoever is on the way: use https, or set allow_http")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("want https")
	}
	return nil
}

func (r Reach) validate(key string) error {
	if len(r.AllowNetworks) > maxList {
		return fmt.Errorf("%s.allow_networks: %d, at most %d", key, len(r.AllowNetworks), maxList)
	}
	for _, n := range r.AllowNetworks {
		if _, err := netip.ParsePrefix(n); err != nil {
			return fmt.Errorf("%s.allow_networks %.80q: want a network such as 10.20.0.0/16", key, n)
		}
	}
	return nil
}

// special are the networks that no receiver on the Internet is in (IANA's registries of special-purpose addresses), and
// those through which others can be reached.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
	"192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
	"::/8", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)

// inside are those of them in which an Alertmanager usually is. Link-local ones, where clouds keep their metadata, are not.
var inside = prefixes("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")

// metadata is a machine's own secrets in some clouds, in the midst of a private network.
var metadata = prefixes("169.254.169.254/32", "100.100.100.200/32", "fd00:ec2::254/128", "fd20:ce::254/128")

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// ErrAddress is in the error of a request that would have gone where the route may not go.
var ErrAddress = errors.New("the address is private, loopback, link-local or reserved, and allow_networks does not have it")

// guard decides about addresses. It is asked for the very address that is dialled, after names were resolved: a name that
// answers with another address the second time gains nothing by it.
type guard struct{ allowed []netip.Prefix }

func (g guard) check(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid():
		return ErrAddress
	case within(metadata, a):
		// A network is allowed for its machines; this address must be meant itself.
		for _, p := range g.allowed {
			if p.IsSingleIP() && p.Addr() == a {
				return nil
			}
		}
		return fmt.Errorf("%s: %w", a, ErrAddress)
	case within(special, a) && !within(g.allowed, a):
		return fmt.Errorf("%s: %w", a, ErrAddress)
	}
	return nil
}

func (g guard) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return g.check(at.Addr())
}

// dialing is how a route's client gets out.
type dialing struct {
	guard    guard
	caFile   string
	resolver *net.Resolver // nil is the system's
}

func (r Reach) dialing(resolver *net.Resolver) dialing {
	d := dialing{caFile: r.CAFile, resolver: resolver}
	for _, n := range r.AllowNetworks {
		if p, err := netip.ParsePrefix(n); err == nil { // Validate has said what is none
			d.guard.allowed = append(d.guard.allowed, p.Masked())
		}
	}
	return d
}

// client makes an HTTP client that follows no redirect, uses no proxy (which would dial for it) and unpacks nothing.
func (d dialing) client() (*http.Client, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.caFile != "" {
		pem, err := os.ReadFile(d.caFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file %s: no certificate in it", d.caFile)
		}
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second, Resolver: d.resolver, ControlContext: d.guard.control}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: secure, TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: true,
			MaxIdleConns: 4, MaxIdleConnsPerHost: 2, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: 32 << 10, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
