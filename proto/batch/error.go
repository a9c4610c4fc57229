package batch

import "muster.dev/proto/internal/wire"

// Error refuses a whole message: Code says whose fault it is, Field where, Limit which bound (0 = none), Offset the
// byte at which reading stopped. Error() is a sentence that says what to do.
type Error = wire.Error

// Code is the class of a refusal; Code.Status is its HTTP status.
type Code = wire.Code

// The codes. UnknownVersion is apart because a sink keeps such a message in quarantine for a later release.
const (
	Malformed      = wire.Malformed      // 400
	TooLarge       = wire.TooLarge       // 413
	Unprocessable  = wire.Unprocessable  // 422
	UnknownVersion = wire.UnknownVersion // 422
)

// Limits bounds Scan.
type Limits = wire.Limits

// DefaultLimits are the limits of every MsgPack document that Muster reads.
func DefaultLimits() Limits {
	return Limits{Body: MaxBody, Depth: MaxDepth, Elements: MaxElements, Keys: MaxKeys}
}

// Scan walks one MsgPack document without building anything and refuses what would harm a general decoder, or what
// two decoders would read differently; FORMAT.md has the rules in its first section. No bytes from
// outside may reach vmihailenco/msgpack before Scan has passed them: five bytes make its v5.4.1 allocate gigabytes,
// and nested arrays overflow its stack.
func Scan(p []byte, l Limits) error {
	if err := wire.ScanMsgPack(p, l); err != nil {
		return err
	}
	return nil
}
