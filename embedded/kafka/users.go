package kafka

import (
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// User is one principal.
type User struct {
	Name   string
	Secret string
	// Super may do everything; its ACLs are not looked at.
	Super bool
	ACLs  []ACL
}

// ACL is kfake's: one right on one resource. The principal is the user that holds it.
type ACL = kfake.ACL

// Secrets are the passwords of StandardUsers.
type Secrets struct {
	Admin, Gateway, Sink, Registry, Reader string
}

// The topics and names that the standard users' rights speak of.
const (
	topicTelemetry = "muster.telemetry.v1"
	topicEvents    = "muster.events.v1"
	topicRegistry  = "muster.registry.v1"
	prefix         = "muster"
)

// StandardUsers are the principals of the local stack:
//
//   - admin may do everything;
//   - gateway writes telemetry and events and reads the registry's topic, and cannot read what devices sent;
//   - sink reads telemetry, events and the registry's topic, in consumer groups whose names begin with "muster";
//   - registry alone writes the registry's topic (in transactions whose ids begin with "muster"), and creates,
//     describes and configures the topics of Muster;
//   - reader reads every topic of Muster, in any group except those of the services: it must not be able to
//     move a sink's offsets.
func StandardUsers(s Secrets) []User {
	return []User{
		{Name: "admin", Secret: s.Admin, Super: true},
		{Name: "gateway", Secret: s.Gateway, ACLs: rights(
			topic(topicTelemetry, kmsg.ACLOperationWrite),
			topic(topicEvents, kmsg.ACLOperationWrite),
			topic(topicRegistry, kmsg.ACLOperationRead),
			cluster(kmsg.ACLOperationIdempotentWrite),
		)},
		{Name: "sink", Secret: s.Sink, ACLs: rights(
			topic(topicTelemetry, kmsg.ACLOperationRead),
			topic(topicEvents, kmsg.ACLOperationRead),
			topic(topicRegistry, kmsg.ACLOperationRead),
			groups(prefix, kmsg.ACLOperationRead, kmsg.ACLOperationDescribe),
		)},
		{Name: "registry", Secret: s.Registry, ACLs: rights(
			topic(topicRegistry, kmsg.ACLOperationAll),
			topics(prefix, kmsg.ACLOperationCreate, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs),
			transactions(prefix, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe),
			groups(prefix, kmsg.ACLOperationDescribe),
			cluster(kmsg.ACLOperationIdempotentWrite, kmsg.ACLOperationDescribe),
		)},
		{Name: "reader", Secret: s.Reader, ACLs: append(rights(
			topics(prefix, kmsg.ACLOperationRead, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs),
			groups("*", kmsg.ACLOperationRead, kmsg.ACLOperationDescribe),
		), ACL{
			Resource: kmsg.ACLResourceTypeGroup, Name: prefix, Pattern: kmsg.ACLResourcePatternTypePrefixed,
			Operation: kmsg.ACLOperationRead, Allow: false,
		})},
	}
}

func rights(lists ...[]ACL) []ACL {
	var all []ACL
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func allow(r kmsg.ACLResourceType, name string, p kmsg.ACLResourcePatternType, ops []kmsg.ACLOperation) []ACL {
	acls := make([]ACL, 0, len(ops))
	for _, op := range ops {
		acls = append(acls, ACL{Resource: r, Name: name, Pattern: p, Operation: op, Allow: true})
	}
	return acls
}

func topic(name string, ops ...kmsg.ACLOperation) []ACL {
	return allow(kmsg.ACLResourceTypeTopic, name, kmsg.ACLResourcePatternTypeLiteral, ops)
}

func topics(prefix string, ops ...kmsg.ACLOperation) []ACL {
	return allow(kmsg.ACLResourceTypeTopic, prefix, kmsg.ACLResourcePatternTypePrefixed, ops)
}

func groups(prefix string, ops ...kmsg.ACLOperation) []ACL {
	pattern := kmsg.ACLResourcePatternTypePrefixed
	if prefix == "*" {
		pattern = kmsg.ACLResourcePatternTypeLiteral
	}
	return allow(kmsg.ACLResourceTypeGroup, prefix, pattern, ops)
}

func transactions(prefix string, ops ...kmsg.ACLOperation) []ACL {
	return allow(kmsg.ACLResourceTypeTransactionalId, prefix, kmsg.ACLResourcePatternTypePrefixed, ops)
}

func cluster(ops ...kmsg.ACLOperation) []ACL {
	return allow(kmsg.ACLResourceTypeCluster, "kafka-cluster", kmsg.ACLResourcePatternTypeLiteral, ops)
}
