// Package snapshot keeps a folded state beside its log, so that a million devices need not be folded again at each start.
//
// The registry is one of those who keep theirs here; a Place is where others do, who name theirs in a head beside them and say
// themselves when one may be believed.
//
// A snapshot is a stream of sections, cut into chunks of at most a megabyte, which lie on muster.snapshots.v1 under the
// keys registry/<slot>/<chunk>: there are two slots, used in turn, and the topic is compacted. That topic proves nothing.
// A snapshot may be believed only because the registry's log names its SHA-256 (SnapshotTaken), and only once a reader has
// seen that very event as a link of the chain that goes on from the snapshot. On any doubt a reader folds the log from its
// start: a snapshot saves time and decides nothing.
//
// What the sections hold is for their owners to say (platform/roster, services/registry/decide); here is how they are
// written, stored, found and read.
package snapshot
