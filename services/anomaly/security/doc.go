// Package security turns what the log shows of identities in the wrong hands into incidents: clones (gateways' signs
// that one identity is used as two, and messages whose numbers are two sequences), knocking (revoked devices that go on trying, and refused attempts at the registry)
// and bursts of enrolments.
//
// Watch is the part of a shard. It adds up what it sees to one page.Sign for each minute and cause. Judge is the judge's
// part: it holds the signs of all shards against thresholds, and says of each cause one thing, with damping.
//
// A single sign is never an incident: a device with two networks, a restored backup or a typing error looks like one.
// The thresholds are in Settings, with the reason of each.
package security
