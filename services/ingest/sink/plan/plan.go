package plan

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Version is the form of the metadata that this package writes, and of the rows
// that a plan stands for: it is raised when records begin to go to other tables.
// An open plan of another version is refused, since its rows would be made anew
// beside those that landed; a commit without one means the same in both.
const (
	Version = 2 // from it on, readings that are old when they come go to s_old
	oldest  = 1
)

// MaxMetadata is Kafka's default for offset.metadata.max.bytes. The embedded
// broker does not enforce it, so this package does.
const MaxMetadata = 4096

// MaxOffsets bounds a plan, so that junk in the metadata cannot make an owner
// wait for a batch that will never be complete.
const MaxOffsets = 1 << 22

// TopicID is the UUID that a broker gives a topic when it is created. Names
// come back after a topic was deleted, ids do not: a token made of a name
// would make the store drop the new topic's rows as already seen.
type TopicID [16]byte

// String is the id as 32 hexadecimal digits.
func (id TopicID) String() string { return hex.EncodeToString(id[:]) }

// Plan is what one batch of one partition is.
type Plan struct {
	Topic TopicID
	Part  int32
	From  int64 // the first offset, and the one the commit stands at
	To    int64 // the last offset, included
	Rev   uint64
	At    int64  // Unix ms at which it was made: older than the store's start means that the store may have forgotten its tokens
	Salt  string // set when the plans before this one are not known, so that no token of theirs can be met again
}

// Offsets is how many offsets the plan covers.
func (p Plan) Offsets() int64 { return p.To - p.From + 1 }

// Name identifies the plan, and is what its tokens begin with.
func (p Plan) Name() string {
	b := make([]byte, 0, 96)
	b = append(b, p.Topic.String()...)
	b = append(b, '/')
	b = strconv.AppendInt(b, int64(p.Part), 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, p.From, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, p.To, 10)
	b = append(b, '/')
	b = strconv.AppendUint(b, p.Rev, 10)
	if p.Salt != "" {
		b = append(b, '~')
		b = append(b, p.Salt...)
	}
	return string(b)
}

// Token is the deduplication token and query id of the plan's block for a
// table.
func (p Plan) Token(table string) string { return p.Name() + "/" + table }

// Piece is the token of the k-th piece of a block that has more partitions than
// one insert takes.
func Piece(token string, k int) string { return token + "/" + strconv.Itoa(k) }

// Repair is the token of the n-th attempt to send only what is missing.
func Repair(token string, n int) string { return token + "/r" + strconv.Itoa(n) }

// Mark is what a commit says: up to Next everything is stored, and Open, if
// there is one, begins at Next and may be stored, half stored or not at all.
type Mark struct {
	Topic TopicID
	Part  int32
	Next  int64
	Open  *Plan
}

// ErrUnreadable is the reason for which metadata cannot be trusted. It is
// never a reason to insert or to skip: the ledger has to be asked.
var ErrUnreadable = errors.New("plan: unreadable commit metadata")

type wire struct {
	V     int     `json:"v"`
	Topic string  `json:"t"`
	Part  *int32  `json:"p"`
	Next  *int64  `json:"n"`
	To    *int64  `json:"to,omitempty"`
	Rev   *uint64 `json:"r,omitempty"`
	At    int64   `json:"at,omitempty"`
	Salt  string  `json:"s,omitempty"`
}

// Encode is the metadata of the mark.
func (m Mark) Encode() (string, error) {
	w := wire{V: Version, Topic: m.Topic.String(), Part: &m.Part, Next: &m.Next}
	if p := m.Open; p != nil {
		if p.Topic != m.Topic || p.Part != m.Part || p.From != m.Next || p.To < p.From || p.Offsets() > MaxOffsets {
			return "", fmt.Errorf("plan: %s does not begin at the mark %s/%d@%d", p.Name(), m.Topic, m.Part, m.Next)
		}
		w.To, w.Rev, w.At, w.Salt = &p.To, &p.Rev, p.At, p.Salt
	}
	b, err := json.Marshal(w)
	if err != nil {
		return "", fmt.Errorf("plan: encode: %w", err)
	}
	if len(b) >= MaxMetadata {
		return "", fmt.Errorf("plan: %d bytes of metadata, want fewer than %d", len(b), MaxMetadata)
	}
	return string(b), nil
}

// Decode reads the metadata of a commit that stands at offset in partition
// part. Whatever is not exactly a mark for that place is ErrUnreadable.
func Decode(metadata string, part int32, offset int64) (Mark, error) {
	if len(metadata) >= MaxMetadata {
		return Mark{}, fmt.Errorf("%w: %d bytes", ErrUnreadable, len(metadata))
	}
	var w wire
	if err := json.Unmarshal([]byte(metadata), &w); err != nil {
		return Mark{}, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if w.V > Version || w.V < oldest || w.V < Version && w.To != nil {
		return Mark{}, fmt.Errorf("%w: version %d", ErrUnreadable, w.V)
	}
	if w.Part == nil || *w.Part != part || w.Next == nil || *w.Next != offset || offset < 0 {
		return Mark{}, fmt.Errorf("%w: not of partition %d at offset %d", ErrUnreadable, part, offset)
	}
	m := Mark{Part: part, Next: offset}
	id, err := hex.DecodeString(w.Topic)
	if err != nil || len(id) != len(m.Topic) {
		return Mark{}, fmt.Errorf("%w: topic id %q", ErrUnreadable, w.Topic)
	}
	copy(m.Topic[:], id)
	if w.To == nil {
		if w.Rev != nil || w.Salt != "" {
			return Mark{}, fmt.Errorf("%w: a plan without an end", ErrUnreadable)
		}
		return m, nil
	}
	p := &Plan{Topic: m.Topic, Part: part, From: offset, To: *w.To, At: w.At, Salt: w.Salt}
	if w.Rev == nil || p.To < p.From || p.To-p.From >= MaxOffsets || !plain(p.Salt) {
		return Mark{}, fmt.Errorf("%w: a plan of offsets %d to %d", ErrUnreadable, p.From, p.To)
	}
	p.Rev = *w.Rev
	m.Open = p
	return m, nil
}

// plain keeps the salt from reaching into the rest of a token.
func plain(s string) bool {
	if len(s) > 32 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
