package stack

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"muster.dev/platform/daemon"
	"muster.dev/services/registry/authority"
)

// The secrets of a local stack, by file name.
const (
	SecretKafkaAdmin    = "kafka-admin"
	SecretKafkaGateway  = "kafka-gateway"
	SecretKafkaSink     = "kafka-sink"
	SecretKafkaRegistry = "kafka-registry"
	SecretKafkaAnomaly  = "kafka-anomaly"
	SecretKafkaReader   = "kafka-reader"
	SecretClickHouse    = "clickhouse-service"
	SecretOperator      = "operator-token"
	SecretCASeal        = "ca-seal" // opens the authority's keys
)

var secretNames = []string{
	SecretKafkaAdmin, SecretKafkaGateway, SecretKafkaSink, SecretKafkaRegistry, SecretKafkaAnomaly, SecretKafkaReader,
	SecretClickHouse, SecretOperator, SecretCASeal,
}

// makeSecrets makes each secret once and keeps it.
func (d Dir) makeSecrets() error {
	for _, name := range secretNames {
		if _, err := os.Stat(d.SecretFile(name)); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("making the secret %s: %w", name, err)
		}
		secret, err := newSecret(name)
		if err != nil {
			return err
		}
		if err := writeFile(d.SecretFile(name), []byte(secret+"\n")); err != nil {
			return fmt.Errorf("making the secret %s: %w", name, err)
		}
	}
	return nil
}

func newSecret(name string) (string, error) {
	if name == SecretCASeal {
		return authority.NewSeal()
	}
	var raw [24]byte
	rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(raw[:]), nil
}

// Authority is what opens the certificate authority of this directory, beside its folder.
func (d Dir) Authority() ([]authority.Option, error) {
	seal, err := authority.ReadSeal(d.SecretFile(SecretCASeal))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no %s: run `muster up` there once, or name a stack's directory with --data DIR", d.Shown(), SecretCASeal)
	} else if err != nil {
		return nil, err
	}
	return []authority.Option{authority.WithSeal(seal)}, nil
}

// Secret reads one.
func (d Dir) Secret(name string) (daemon.Secret, error) {
	s, err := daemon.ReadSecret(d.SecretFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s has no %s: run `muster up` there once, or name a stack's directory with --data DIR", d.Shown(), name)
	}
	return s, err
}
