package event

import "muster.dev/proto/batch"

// The ce_types of what is said of those who use the registry, and of the log itself.
const (
	TypeTokenMade      = "muster.registry.token-made.v1"
	TypeTokenWithdrawn = "muster.registry.token-withdrawn.v1"
	TypeAttemptRefused = "muster.registry.attempt-refused.v1"
	TypeSnapshotTaken  = "muster.registry.snapshot-taken.v1"
)

// TokenMade lets its bearer in as an operator of a role.
type TokenMade struct {
	ID       string `msgpack:"id"`
	Name     string `msgpack:"name"` // who
	Role     string `msgpack:"role"`
	Hash     []byte `msgpack:"hash"`      // SHA-256 of the token
	NotAfter int64  `msgpack:"not_after"` // Unix ms
}

// TokenWithdrawn ends a token before its time.
type TokenWithdrawn struct {
	ID string `msgpack:"id"`
}

// AttemptRefused is for auditors: somebody tried what is not allowed.
type AttemptRefused struct {
	What    string `msgpack:"what"`
	Subject string `msgpack:"subject"`
	Reason  string `msgpack:"reason"`
	Source  string `msgpack:"source"` // an address
	More    uint64 `msgpack:"more"`   // how many like it were not written since the last one
}

// SnapshotTaken names a snapshot of the state after event N: it may be believed because it is named here.
type SnapshotTaken struct {
	Offset int64  `msgpack:"offset"` // of the first record of the registry that is not in it
	Event  uint64 `msgpack:"n"`      // number of the last event that is in it
	Slot   uint8  `msgpack:"slot"`   // under whose keys it lies
	Start  int64  `msgpack:"start"`  // offset of its first chunk
	Chunks uint32 `msgpack:"chunks"`
	Sum    []byte `msgpack:"sha256"` // of all chunks
}

// Type is the ce_type.
func (TokenMade) Type() string { return TypeTokenMade }

// Type is the ce_type.
func (TokenWithdrawn) Type() string { return TypeTokenWithdrawn }

// Type is the ce_type.
func (AttemptRefused) Type() string { return TypeAttemptRefused }

// Type is the ce_type.
func (SnapshotTaken) Type() string { return TypeSnapshotTaken }

// MaxSnapshotChunks is the number of chunks that a snapshot may have.
const MaxSnapshotChunks = 1 << 16

func (t TokenMade) validate() *batch.Error {
	switch {
	case len(t.Hash) != 32:
		return bad("hash", "must have 32 bytes")
	case !Name(t.Name):
		return notName("name", t.Name)
	case !Name(t.Role):
		return notName("role", t.Role)
	case t.NotAfter < 0 || t.NotAfter > batch.MaxTime:
		return bad("not_after", "must be Unix milliseconds")
	}
	return checkName("id", t.ID)
}

func (t TokenWithdrawn) validate() *batch.Error { return checkName("id", t.ID) }

func (a AttemptRefused) validate() *batch.Error {
	if a.What == "" {
		return bad("what", "is missing")
	}
	for field, s := range map[string]string{"what": a.What, "subject": a.Subject, "reason": a.Reason, "source": a.Source} {
		if err := checkText(field, s); err != nil {
			return err
		}
	}
	return nil
}

func (s SnapshotTaken) validate() *batch.Error {
	switch {
	case s.Offset < 0 || s.Start < 0:
		return bad("offset", "must not be negative")
	case s.Event == 0:
		return bad("n", "must count from 1")
	case s.Slot > 1:
		return bad("slot", "must be 0 or 1")
	case s.Chunks == 0 || s.Chunks > MaxSnapshotChunks:
		return refuse(batch.Unprocessable, "chunks", "must be one or more", MaxSnapshotChunks)
	case len(s.Sum) != 32:
		return bad("sha256", "must have 32 bytes")
	}
	return nil
}
