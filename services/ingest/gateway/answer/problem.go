package answer

import "strconv"

// ProblemType is the media type of a refusal (RFC 9457).
const ProblemType = "application/problem+json"

// typePrefix begins each problem's type URI. It names the kind of problem and need not resolve.
const typePrefix = "https://muster.dev/problems/"

// Problem is one refusal, ready to be told to the device.
type Problem struct {
	Reason Reason
	// Detail is one sentence or two: what is wrong, where, the limit, what to do.
	Detail string
	// Field is the member of the message or the header at fault, empty when none is.
	Field string
	// Limit is the bound that was crossed, 0 when none was.
	Limit int64
	// RetryAfter is in whole seconds; only 429 and 503 carry it, and always.
	RetryAfter int
	// Region is where the device belongs, and Gateway which gateway takes it there; empty when that is not the matter.
	Region, Gateway string
}

// Append writes the problem as JSON behind dst.
func (p *Problem) Append(dst []byte) []byte {
	e := &table[p.Reason]
	dst = append(dst, `{"type":"`+typePrefix...)
	dst = append(dst, e.name...)
	dst = append(dst, `","title":"`...)
	dst = append(dst, e.title...)
	dst = append(dst, `","status":`...)
	dst = strconv.AppendInt(dst, int64(e.status), 10)
	dst = append(dst, `,"detail":`...)
	dst = appendString(dst, p.Detail)
	dst = append(dst, `,"reason":"`...)
	dst = append(dst, e.name...)
	dst = append(dst, `","outcome":"`...)
	dst = append(dst, e.outcome...)
	dst = append(dst, '"')
	if p.Field != "" {
		dst = append(dst, `,"field":`...)
		dst = appendString(dst, p.Field)
	}
	if p.Limit != 0 {
		dst = append(dst, `,"limit":`...)
		dst = strconv.AppendInt(dst, p.Limit, 10)
	}
	if p.Region != "" {
		dst = append(dst, `,"region":`...)
		dst = appendString(dst, p.Region)
	}
	if p.Gateway != "" {
		dst = append(dst, `,"gateway":`...)
		dst = appendString(dst, p.Gateway)
	}
	return append(dst, '}')
}

// Retry is the Retry-After a problem must carry in seconds, 0 for none: 429 and 503 always say when to come back.
func (p *Problem) Retry() int {
	if s := p.Reason.Status(); s != 429 && s != 503 {
		return 0
	}
	return max(p.RetryAfter, 1)
}
