package stack

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"muster.dev/platform/daemon"
)

// The secrets of a local stack, by file name.
const (
	SecretKafkaAdmin    = "kafka-admin"
	SecretKafkaGateway  = "kafka-gateway"
	SecretKafkaSink     = "kafka-sink"
	SecretKafkaRegistry = "kafka-registry"
	SecretKafkaReader   = "kafka-reader"
	SecretClickHouse    = "clickhouse-service"
	SecretOperator      = "operator-token"
)

var secretNames = []string{
	SecretKafkaAdmin, SecretKafkaGateway, SecretKafkaSink, SecretKafkaRegistry, SecretKafkaReader,
	SecretClickHouse, SecretOperator,
}

// makeSecrets makes each secret once and keeps it.
func (d Dir) makeSecrets() error {
	for _, name := range secretNames {
		if _, err := os.Stat(d.SecretFile(name)); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("making the secret %s: %w", name, err)
		}
		var raw [24]byte
		rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
		if err := writeFile(d.SecretFile(name), []byte(hex.EncodeToString(raw[:])+"\n")); err != nil {
			return fmt.Errorf("making the secret %s: %w", name, err)
		}
	}
	return nil
}

// Secret reads one.
func (d Dir) Secret(name string) (daemon.Secret, error) {
	s, err := daemon.ReadSecret(d.SecretFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s has no %s: run `muster up` there once, or name a stack's directory with --data DIR", d.Shown(), name)
	}
	return s, err
}
