package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// The topics and names that the tests' users have rights on.
const (
	topicTelemetry = "muster.telemetry.v1"
	topicEvents    = "muster.events.v1"
	topicRegistry  = "muster.registry.v1"
	prefix         = "muster"
)

// secretOf gives each of the tests' users its own.
func secretOf(user string) string { return user + "'s secret" }

// users are one of each kind: one that may do everything, one that writes, one that reads in groups, one that writes
// in transactions and makes topics, and one that reads everything in any group but those that it is denied.
func users() []User {
	all := []User{
		{Name: "admin", Super: true},
		{Name: "writer", ACLs: rights(
			topic(topicTelemetry, kmsg.ACLOperationWrite),
			topic(topicEvents, kmsg.ACLOperationWrite),
			topic(topicRegistry, kmsg.ACLOperationRead),
			cluster(kmsg.ACLOperationIdempotentWrite),
		)},
		{Name: "follower", ACLs: rights(
			topic(topicTelemetry, kmsg.ACLOperationRead),
			topic(topicEvents, kmsg.ACLOperationRead),
			topic(topicRegistry, kmsg.ACLOperationRead),
			groups(prefix, kmsg.ACLOperationRead, kmsg.ACLOperationDescribe),
		)},
		{Name: "owner", ACLs: rights(
			topic(topicRegistry, kmsg.ACLOperationAll),
			topics(prefix, kmsg.ACLOperationCreate, kmsg.ACLOperationDescribe),
			transactions(prefix, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe),
			cluster(kmsg.ACLOperationIdempotentWrite),
		)},
		{Name: "guest", ACLs: append(rights(
			topics(prefix, kmsg.ACLOperationRead, kmsg.ACLOperationDescribe),
			groups("*", kmsg.ACLOperationRead, kmsg.ACLOperationDescribe),
		), ACL{
			Resource: kmsg.ACLResourceTypeGroup, Name: prefix, Pattern: kmsg.ACLResourcePatternTypePrefixed,
			Operation: kmsg.ACLOperationRead, Allow: false,
		})},
	}
	for i := range all {
		all[i].Secret = secretOf(all[i].Name)
	}
	return all
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
