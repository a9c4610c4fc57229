package principals

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/proto/record"
)

// Names of the principals. Admin is the broker's own superuser and needs no grants.
const (
	Admin    = "admin"
	Gateway  = "gateway"
	Sink     = "sink"
	Registry = "registry"
	Anomaly  = "anomaly"
	Reader   = "reader"
)

// Names is every principal but Admin.
func Names() []string { return []string{Gateway, Sink, Registry, Anomaly, Reader} }

// Group is the consumer group of the sink: its commits carry the plans, so nobody else may touch it.
const Group = "muster-sink"

// RegistryGroup is the consumer group whose one commit says which registry process has the writer's place.
const RegistryGroup = "muster-registry"

// AnomalyPrefix is what the detectors' consumer groups and transactional ids start with: nobody else may join them, or say
// something in their name.
const AnomalyPrefix = "muster-anomaly"

// ReaderGroups is the prefix that a user's own consumer groups must carry.
const ReaderGroups = "reader-"

// TransactionalPrefix is what the registry's transactional ids start with.
const TransactionalPrefix = "muster-registry"

// topicPrefix covers every topic of an installation.
const topicPrefix = "muster."

// Grant lets one principal do Operations on one resource, or on all whose name starts with it.
type Grant struct {
	Principal  string
	Resource   kmsg.ACLResourceType
	Name       string
	Prefixed   bool
	Operations []kmsg.ACLOperation
}

const (
	read            = kmsg.ACLOperationRead
	write           = kmsg.ACLOperationWrite
	create          = kmsg.ACLOperationCreate
	describe        = kmsg.ACLOperationDescribe
	describeConfigs = kmsg.ACLOperationDescribeConfigs
	alterConfigs    = kmsg.ACLOperationAlterConfigs
	idempotentWrite = kmsg.ACLOperationIdempotentWrite

	topic   = kmsg.ACLResourceTypeTopic
	group   = kmsg.ACLResourceTypeGroup
	cluster = kmsg.ACLResourceTypeCluster
	txn     = kmsg.ACLResourceTypeTransactionalId
)

// iterations is RFC 5802's and Kafka's default. The embedded broker announces this number whatever was set, so
// another would lock every user out there; the secrets are 192 random bits, which no count has to protect.
const iterations = 4096

// clusterName is the one name that a cluster resource has in Kafka.
const clusterName = "kafka-cluster"

// Grants is the whole table of rights. What is not in it is refused: the log has no default right.
func Grants() []Grant {
	return []Grant{
		{Gateway, topic, record.TopicTelemetry, false, []kmsg.ACLOperation{write, describe}},
		{Gateway, topic, record.TopicEvents, false, []kmsg.ACLOperation{write, describe}},
		{Gateway, topic, record.TopicRegistry, false, []kmsg.ACLOperation{read, describe}},
		{Gateway, topic, record.TopicSnapshots, false, []kmsg.ACLOperation{read, describe}},
		{Gateway, cluster, clusterName, false, []kmsg.ACLOperation{idempotentWrite}},

		{Sink, topic, record.TopicTelemetry, false, []kmsg.ACLOperation{read, describe}},
		{Sink, topic, record.TopicEvents, false, []kmsg.ACLOperation{read, describe}},
		{Sink, topic, record.TopicRegistry, false, []kmsg.ACLOperation{read, describe}},
		{Sink, topic, record.TopicSnapshots, false, []kmsg.ACLOperation{read, describe}},
		{Sink, group, Group, false, []kmsg.ACLOperation{read, describe}},

		{Registry, topic, record.TopicRegistry, false, []kmsg.ACLOperation{read, write, create, describe, describeConfigs, alterConfigs}},
		{Registry, topic, record.TopicSnapshots, false, []kmsg.ACLOperation{read, write, describe}},
		{Registry, group, RegistryGroup, false, []kmsg.ACLOperation{read, describe}},
		{Registry, topic, topicPrefix, true, []kmsg.ACLOperation{create, describe, describeConfigs, alterConfigs}},
		{Registry, txn, TransactionalPrefix, true, []kmsg.ACLOperation{write, describe}},
		{Registry, cluster, clusterName, false, []kmsg.ACLOperation{create, describe, idempotentWrite}},

		{Anomaly, topic, record.TopicTelemetry, false, []kmsg.ACLOperation{read, describe}},
		{Anomaly, topic, record.TopicEvents, false, []kmsg.ACLOperation{read, describe}},
		{Anomaly, topic, record.TopicRegistry, false, []kmsg.ACLOperation{read, describe}},
		{Anomaly, topic, record.TopicCohorts, false, []kmsg.ACLOperation{read, write, describe}},
		{Anomaly, topic, record.TopicIncidents, false, []kmsg.ACLOperation{read, write, describe}},
		{Anomaly, topic, record.TopicSnapshots, false, []kmsg.ACLOperation{read, write, describe}},
		{Anomaly, group, AnomalyPrefix, true, []kmsg.ACLOperation{read, describe}},
		{Anomaly, txn, AnomalyPrefix, true, []kmsg.ACLOperation{write, describe}},
		{Anomaly, cluster, clusterName, false, []kmsg.ACLOperation{idempotentWrite}},

		{Reader, topic, topicPrefix, true, []kmsg.ACLOperation{read, describe, describeConfigs}},
		{Reader, group, ReaderGroups, true, []kmsg.ACLOperation{read, describe}},
	}
}

// Ensure creates or updates the users and their grants; cl must be the administrator's. It may be repeated:
// a user's secret is set again and a grant that is there already stays one grant. A nil error says that the
// broker accepted every user and every grant; on an error some may be in place, so call again.
func Ensure(ctx context.Context, cl *kgo.Client, secrets map[string]string) error {
	adm := kadm.NewClient(cl)
	var users []kadm.UpsertSCRAM
	for _, name := range Names() {
		secret, ok := secrets[name]
		if !ok || secret == "" {
			return fmt.Errorf("principal %q has no secret: give it one before the log is opened to it", name)
		}
		users = append(users, kadm.UpsertSCRAM{User: name, Mechanism: kadm.ScramSha256, Iterations: iterations, Password: secret})
	}
	altered, err := adm.AlterUserSCRAMs(ctx, nil, users)
	if err != nil {
		return fmt.Errorf("set the users of the log: %w", err)
	}
	var errs []error
	altered.EachError(func(a kadm.AlteredUserSCRAM) {
		errs = append(errs, fmt.Errorf("set user %q: %w", a.User, a.Err))
	})
	req := kmsg.NewPtrCreateACLsRequest()
	for _, g := range Grants() {
		for _, op := range g.Operations {
			c := kmsg.NewCreateACLsRequestCreation()
			c.ResourceType, c.ResourceName = g.Resource, g.Name
			c.ResourcePatternType = kmsg.ACLResourcePatternTypeLiteral
			if g.Prefixed {
				c.ResourcePatternType = kmsg.ACLResourcePatternTypePrefixed
			}
			c.Principal, c.Host = "User:"+g.Principal, "*"
			c.Operation, c.PermissionType = op, kmsg.ACLPermissionTypeAllow
			req.Creations = append(req.Creations, c)
		}
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("grant rights on the log: %w", err)
	}
	for i, r := range resp.Results {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			errs = append(errs, fmt.Errorf("grant %s %v on %s: %w", req.Creations[i].Principal, req.Creations[i].Operation, req.Creations[i].ResourceName, err))
		}
	}
	return errors.Join(errs...)
}
