package bootstrap

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/wholefile"
)

// Holder is one process, or one engine, that is handed files of its own.
type Holder struct {
	Name    string
	UID     int      // who owns its folder
	Secrets []string // the shared secrets that it is given
	Servers []string // host names that its server certificate carries; none, no certificate
	Owns    string   // "ca" for the one holder of the authority
}

// Secrets that more than one holder needs are made once and copied to each.
const (
	KafkaAdmin        = "kafka-admin"
	KafkaGateway      = "kafka-gateway"
	KafkaSink         = "kafka-sink"
	KafkaRegistry     = "kafka-registry"
	KafkaAnomaly      = "kafka-anomaly"
	KafkaReader       = "kafka-reader"
	ClickHouseService = "clickhouse-service"
	OperatorToken     = "operator-token"
	AdminPassword     = "admin-password"
	CASeal            = "ca-seal" // opens the authority's keys
)

// RootKey is where the key of the authority's root lies until somebody takes it to a safe place: with the operator, whom
// the registry's user cannot read from. Nothing needs it before the issuing certificate is rolled over.
const RootKey = "operator/root.key.age"

// Compose is the table of the Compose stack: which user may read what. The users are those of
// deploy/compose/compose.yaml; a test holds the two together.
func Compose() []Holder {
	return []Holder{
		{Name: "registry", UID: 65530, Secrets: []string{KafkaRegistry, ClickHouseService, OperatorToken, CASeal},
			Servers: append([]string{"registry"}, authority.LoopbackHosts...), Owns: "ca"},
		{Name: "gateway", UID: 65531, Secrets: []string{KafkaGateway}, Servers: append([]string{"gateway"}, authority.LoopbackHosts...)},
		{Name: "sink", UID: 65532, Secrets: []string{KafkaSink, ClickHouseService}},
		{Name: "migrate", UID: 65533, Secrets: []string{ClickHouseService}},
		{Name: "retention", UID: 65534, Secrets: []string{ClickHouseService}},
		{Name: "anomaly", UID: 65527, Secrets: []string{KafkaAnomaly, ClickHouseService}},
		{Name: "principals", UID: 65529, Secrets: []string{KafkaAdmin, KafkaGateway, KafkaSink, KafkaRegistry, KafkaAnomaly, KafkaReader}},
		{Name: "otel-collector", UID: 65528, Secrets: []string{ClickHouseService}},
		{Name: "redpanda", UID: 101, Secrets: []string{KafkaAdmin}},
		{Name: "clickhouse", UID: 101, Secrets: []string{ClickHouseService}},
		{Name: "grafana", UID: 472, Secrets: []string{AdminPassword}},
		{Name: "operator", UID: 0, Secrets: []string{KafkaReader, OperatorToken, AdminPassword}},
	}
}

// Make hands every holder its folder under dir. It may be repeated: a secret, a certificate that is good and the
// authority stay as they are, so a second start of the stack changes nothing. chown is called for each path that
// is to have its holder's owner; nil leaves all to the caller's user. On an error some folders may be complete
// and others missing: call again. What should not stay as it is, it says in sentences.
func Make(dir, trustDomain string, holders []Holder, chown func(path string, uid int) error) (findings []string, err error) {
	if chown == nil {
		chown = func(string, int) error { return nil }
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("identity folder: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // each holder finds its own folder in it, and no other opens
		return nil, fmt.Errorf("identity folder: %w", err)
	}
	caDir, owner, err := authorityFolder(dir, holders)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(caDir), 0o700); err != nil {
		return nil, fmt.Errorf("folder of the authority: %w", err)
	}
	// The authority insists on a folder of its own user; while it is at work that is the caller.
	if err := chownTree(caDir, os.Getuid(), chown); err != nil {
		return nil, err
	}
	secrets := map[string]string{}
	ca, findings, err := openAuthority(dir, caDir, trustDomain, secrets)
	if err != nil {
		return nil, err
	}
	for _, h := range holders {
		if err := h.fill(dir, ca, secrets, chown); err != nil {
			return nil, fmt.Errorf("files of %s: %w", h.Name, err)
		}
	}
	return findings, chownTree(filepath.Dir(caDir), owner, chown)
}

// openAuthority makes or opens the authority, and renews its issuing certificate when that is due.
func openAuthority(dir, caDir, trustDomain string, secrets map[string]string) (*authority.Authority, []string, error) {
	sealed, err := find(dir, CASeal)
	if err != nil {
		return nil, nil, err
	}
	secrets[CASeal] = sealed
	// Written before anything is sealed by it: what is sealed without it would be lost by a death here.
	if err := wholefile.Write(filepath.Join(filepath.Dir(caDir), CASeal), []byte(sealed), 0o600); err != nil {
		return nil, nil, err
	}
	seal, err := authority.ParseSeal(sealed)
	if err != nil {
		return nil, nil, err
	}
	options := []authority.Option{authority.WithSeal(seal), authority.WithRootKey(filepath.Join(dir, RootKey), seal)}
	if _, err := authority.Init(caDir, trustDomain, options...); err != nil {
		return nil, nil, err
	}
	if _, err := authority.RenewIssuing(caDir, time.Now(), options...); err != nil && !errors.Is(err, authority.ErrRootKeyAway) {
		return nil, nil, err
	}
	ca, err := authority.Open(caDir, options...)
	if err != nil {
		return nil, nil, err
	}
	findings, err := authority.Findings(caDir, time.Now())
	if _, away := os.Stat(filepath.Join(dir, RootKey)); away == nil {
		findings = append(findings, fmt.Sprintf("the root's key is still on this machine: move %s to where no network reaches it", RootKey))
	}
	return ca, findings, err
}

func authorityFolder(dir string, holders []Holder) (path string, uid int, err error) {
	for _, h := range holders {
		if h.Owns == "ca" {
			return filepath.Join(dir, h.Name, "ca"), h.UID, nil
		}
	}
	return "", 0, errors.New("no holder owns the certificate authority")
}

// fill makes what h lacks. A secret that any holder already has is that holder's: secrets remembers those met
// and find looks among the folders of all.
func (h Holder) fill(dir string, ca *authority.Authority, secrets map[string]string, chown func(string, int) error) error {
	own := filepath.Join(dir, h.Name)
	if err := os.MkdirAll(own, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(own, 0o700); err != nil {
		return err
	}
	for _, name := range h.Secrets {
		value, ok := secrets[name]
		if !ok {
			var err error
			if value, err = find(dir, name); err != nil {
				return err
			}
			secrets[name] = value
		}
		path := filepath.Join(own, name)
		if got, err := os.ReadFile(path); err == nil && string(got) == value {
			continue
		}
		if err := wholefile.Write(path, []byte(value), 0o600); err != nil {
			return err
		}
	}
	if err := wholefile.Write(filepath.Join(own, "ca.pem"), ca.CA(), 0o644); err != nil {
		return err
	}
	if len(h.Servers) > 0 {
		if err := wholefile.Write(filepath.Join(own, "clients.pem"), ca.Clients(), 0o644); err != nil {
			return err
		}
		if err := ca.EnsureServer(filepath.Join(own, "server.pem"), filepath.Join(own, "server.key"), h.Servers...); err != nil {
			return err
		}
	}
	return chownTree(own, h.UID, chown)
}

// find returns the secret that any holder has, or makes it.
func find(dir, name string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*", name))
	if err != nil {
		return "", err
	}
	for _, path := range found {
		value, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		if len(value) > 0 {
			return string(value), nil
		}
	}
	if name == CASeal {
		return authority.NewSeal()
	}
	raw := make([]byte, 24)
	if _, err := rand.Read(raw); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

func chownTree(root string, uid int, chown func(string, int) error) error {
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return chown(path, uid)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
