package authority

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// DefaultTrustDomain is the trust domain of a fleet that has not chosen one.
const DefaultTrustDomain = "muster.local"

// DefaultDeviceLife is how long a device's certificate lives. It is renewed in the last third of that.
const DefaultDeviceLife = 90 * 24 * time.Hour

const (
	rootLife    = 20 * 365 * 24 * time.Hour
	issuingLife = 5 * 365 * 24 * time.Hour
	serverLife  = 365 * 24 * time.Hour

	// A certificate begins a little before now: devices' clocks are slow as often as fast.
	backdate = 10 * time.Minute
)

var trustDomains = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

// Option is what a caller knows of an authority beside its directory.
type Option func(*options)

type options struct {
	seal       Seal
	rootKey    string // without its ending
	rootSeal   Seal
	deviceLife time.Duration
	serverLife time.Duration
	abrupt     bool
}

// WithSeal opens and closes the issuing keys, and the root's where nothing else is said of it.
func WithSeal(s Seal) Option { return func(o *options) { o.seal = s } }

// WithRootKey says in which file the root's key lies, or is to lie, and what seals it. A path of "" is the place in the
// authority's directory; a zero Seal is that of the issuing keys.
func WithRootKey(path string, s Seal) Option {
	return func(o *options) {
		if path != "" {
			o.rootKey = strings.TrimSuffix(strings.TrimSuffix(path, sealedKey), plainKey)
		}
		o.rootSeal = s
	}
}

// WithDeviceLife sets how long devices' certificates live.
func WithDeviceLife(life time.Duration) Option { return func(o *options) { o.deviceLife = life } }

// WithServerLife sets how long servers' certificates live.
func WithServerLife(life time.Duration) Option { return func(o *options) { o.serverLife = life } }

// WithoutOldRoot lets RollRoot go on when the old root's key is lost: devices that have not fetched the new root by
// then do not trust the servers' next certificates.
func WithoutOldRoot() Option { return func(o *options) { o.abrupt = true } }

func gather(dir string, given []Option) options {
	o := options{rootKey: in(dir, RootKeyName), deviceLife: DefaultDeviceLife, serverLife: serverLife}
	for _, set := range given {
		set(&o)
	}
	if o.rootSeal.none() {
		o.rootSeal = o.seal
	}
	return o
}

// Authority issues certificates. It is safe for concurrent use.
type Authority struct {
	dir  string
	opts options
	held atomic.Pointer[held]
	now  func() time.Time
}

// held is an authority's certificates and keys at one time.
type held struct {
	trustDomain string
	roots       []*x509.Certificate // trusted, the one in use first
	crossed     []*x509.Certificate // the root in use, signed by an older one that is still trusted
	current     *issuer
	issuers     map[string]*issuer
	seen        [2]string // what look saw before
}

// issuer is one issuing certificate with its key.
type issuer struct {
	id     string
	cert   *x509.Certificate
	signer crypto.Signer // nil where the key is not here any more
}

// Init makes what is missing of an authority for trustDomain in dir, and opens it; "" is the one that dir is for, or
// DefaultTrustDomain. It is safe to repeat: what exists is kept, and an interrupted Init is completed by the next. Keys that an older version left unsealed are sealed.
// An authority made for another trust domain is an error, never replaced. Two concurrent calls on one directory are the
// caller's to prevent.
func Init(dir, trustDomain string, given ...Option) (*Authority, error) {
	if trustDomain != "" && (len(trustDomain) > 253 || !trustDomains.MatchString(trustDomain)) {
		return nil, fmt.Errorf("trust domain %q is not a host name in lower case", trustDomain)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("authority directory: %w", err)
	}
	if err := checkDirectory(dir); err != nil {
		return nil, err
	}
	if trustDomain == "" {
		var err error
		if trustDomain, err = trustDomainOf(dir); err != nil {
			return nil, err
		}
	}
	o := gather(dir, given)
	now := time.Now()
	var rootKey crypto.Signer // at hand only while it is new: it may be sealed for somebody else
	if !exists(in(dir, RootFile)) {
		var err error
		if rootKey, err = makeRoot(dir, trustDomain, o, now); err != nil {
			return nil, err
		}
	}
	if err := sealOld(dir, o); err != nil {
		return nil, err
	}
	if !exists(in(dir, IssuingFile)) {
		if err := makeIssuing(dir, o, now, rootKey); err != nil {
			return nil, err
		}
	}
	a, err := Open(dir, given...)
	if err != nil {
		return nil, err
	}
	if a.TrustDomain() != trustDomain {
		return nil, fmt.Errorf("the authority in %s is for trust domain %q, not %q", dir, a.TrustDomain(), trustDomain)
	}
	return a, a.held.Load().publish(dir)
}

// trustDomainOf reads the trust domain that dir is for; DefaultTrustDomain where nothing is yet.
func trustDomainOf(dir string) (string, error) {
	if !exists(in(dir, RootFile)) {
		return DefaultTrustDomain, nil
	}
	roots, err := readCertificates(in(dir, RootFile))
	if err != nil {
		return "", err
	}
	domain, err := domainOf(roots[0])
	if err != nil {
		return "", fmt.Errorf("%s: %w", in(dir, RootFile), err)
	}
	return domain, nil
}

// Open opens an authority that Init made. The root's key is not needed. The trust domain is read from the
// certificates, so that it cannot differ from what they vouch for.
func Open(dir string, given ...Option) (*Authority, error) {
	a := &Authority{dir: dir, opts: gather(dir, given), now: time.Now}
	if err := a.Reload(); err != nil {
		return nil, err
	}
	return a, nil
}

// Reload takes the authority's files as they are now: after a roll-over that another process did. On an error what was
// read before stays.
func (a *Authority) Reload() error {
	h, err := load(a.dir, a.opts.seal)
	if err != nil {
		return err
	}
	a.held.Store(h)
	return nil
}

// Follow reloads when the certificates in use change, until ctx ends, and calls changed after that.
func (a *Authority) Follow(ctx context.Context, every time.Duration, log *slog.Logger, changed func()) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := a.held.Load().seen
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := look(a.dir)
		if now == last {
			continue
		}
		last = now
		if err := a.Reload(); err != nil {
			log.Error("the authority's new certificates are not used", "error", err)
			continue
		}
		_, id := a.Issuing()
		log.Info("the authority's certificates changed", "issuer", id, "roots", len(a.Roots()))
		changed()
	}
}

// look reads the files that a roll-over changes last.
func look(dir string) (seen [2]string) {
	for n, name := range []string{RootFile, IssuingFile} {
		data, _ := os.ReadFile(in(dir, name)) // missing for a moment at worst; load says what is the matter
		seen[n] = string(data)
	}
	return seen
}

func load(dir string, seal Seal) (*held, error) {
	if err := checkDirectory(dir); err != nil {
		return nil, err
	}
	h := &held{issuers: map[string]*issuer{}, seen: look(dir)}
	var err error
	if h.roots, err = readCertificates(in(dir, RootFile)); err != nil {
		return nil, err
	}
	if exists(in(dir, crossedFile)) {
		if h.crossed, err = readCertificates(in(dir, crossedFile)); err != nil {
			return nil, err
		}
	}
	inUse, err := readCertificates(in(dir, IssuingFile))
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(in(dir, issuingBase("*.pem")))
	if err != nil {
		return nil, fmt.Errorf("list the issuing certificates: %w", err)
	}
	for _, file := range files {
		certs, err := readCertificates(file)
		if err != nil {
			return nil, err
		}
		i := &issuer{id: ID(certs[0]), cert: certs[0]}
		i.signer, err = readKey(in(dir, issuingBase(i.id)), seal)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		h.issuers[i.id] = i
	}
	if h.current = h.issuers[ID(inUse[0])]; h.current == nil { // as an older version left it
		h.current = &issuer{id: ID(inUse[0]), cert: inUse[0]}
		h.issuers[h.current.id] = h.current
	}
	if h.current.signer == nil {
		if h.current.signer, err = readPlainKey(in(dir, "issuing"+plainKey)); err != nil {
			return nil, err
		}
	}
	return h, h.check()
}

// check holds the parts of an authority together.
func (h *held) check() error {
	var err error
	if h.trustDomain, err = domainOf(h.current.cert); err != nil {
		return fmt.Errorf("%s: %w", IssuingFile, err)
	}
	for _, i := range h.issuers {
		signed := func(root *x509.Certificate) bool { return i.cert.CheckSignatureFrom(root) == nil }
		if !slices.ContainsFunc(h.roots, signed) {
			return fmt.Errorf("the issuing certificate %s was not signed by a root of %s", i.id, RootFile)
		}
		if i.signer != nil && !publicEqual(i.cert.PublicKey, i.signer.Public()) {
			return fmt.Errorf("the key of the issuing certificate %s does not belong to it", i.id)
		}
	}
	return nil
}

// domainOf is the trust domain that a certificate of an authority is for.
func domainOf(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != "spiffe" {
		return "", errors.New("the certificate names no trust domain")
	}
	return cert.URIs[0].Host, nil
}

// publish writes the file that servers verify devices by. A device that shows its own certificate alone, as one that
// enrolled by EST may, is verified by the issuing certificates in it.
func (h *held) publish(dir string) error {
	return writeCertificates(in(dir, ClientsFile), slices.Concat(h.roots, h.issuing())...)
}

// issuing are the issuing certificates, the one in use first.
func (h *held) issuing() []*x509.Certificate {
	certs := []*x509.Certificate{h.current.cert}
	var older []*x509.Certificate
	for _, i := range h.issuers {
		if i != h.current {
			older = append(older, i.cert)
		}
	}
	slices.SortFunc(older, func(a, b *x509.Certificate) int { return b.NotBefore.Compare(a.NotBefore) })
	return append(certs, older...)
}

// TrustDomain is the host of every identity that this authority vouches for.
func (a *Authority) TrustDomain() string { return a.held.Load().trustDomain }

// CA is every trusted root in PEM: what devices and services trust. The one in use comes first.
func (a *Authority) CA() []byte { return encodeCertificates(a.held.Load().roots...) }

// Roots are the trusted roots, the one in use first.
func (a *Authority) Roots() []*x509.Certificate { return slices.Clone(a.held.Load().roots) }

// Clients is what a server verifies devices by, in PEM: the roots, and the issuing certificates.
func (a *Authority) Clients() []byte {
	h := a.held.Load()
	return encodeCertificates(slices.Concat(h.roots, h.issuing())...)
}

// Issuing is the issuing certificate in use and its id.
func (a *Authority) Issuing() (der []byte, id string) {
	h := a.held.Load()
	return h.current.cert.Raw, h.current.id
}

// Issuers are all issuing certificates that are known here, the one in use first.
func (a *Authority) Issuers() []*x509.Certificate { return a.held.Load().issuing() }

// Chain is what stands between a certificate that is issued now and the trusted roots. While two roots are trusted, the
// new one stands in it as well, signed by the old: a client that knows the old alone goes on to there, and one that knows
// the new stops before.
func (a *Authority) Chain() []*x509.Certificate { return a.held.Load().chain() }

func (h *held) chain() []*x509.Certificate {
	return append([]*x509.Certificate{h.current.cert}, h.crossed...)
}

// Ready is nil while certificates can be issued.
func (a *Authority) Ready() error {
	if end := a.held.Load().current.cert.NotAfter; !end.After(a.now()) {
		return fmt.Errorf("the issuing certificate ended at %s: roll it over with the root's key", end.Format(time.RFC3339))
	}
	return nil
}

func publicEqual(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}
