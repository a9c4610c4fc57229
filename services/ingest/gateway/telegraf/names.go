package telegraf

import (
	"hash/fnv"
	"strconv"

	"muster.dev/proto/batch"
)

// names makes metrics' names. It keeps each that it has made: the metrics of a body say few, many times.
type names struct {
	known map[string]string
	raw   []byte
	out   []byte
}

// maxKnown is the longest that is kept: what is longer is not worth its memory.
const maxKnown = 128

// of is the name of a field of a point. by is the tag that names the device.
func (n *names) of(p *point, field, by string) string {
	raw := append(append(append(n.raw[:0], p.name...), '_'), field...)
	for i := range p.tags {
		if t := &p.tags[i]; t.key != by && t.key != tagHost && t.key != tagDeviceID && t.value != "" {
			raw = append(append(raw, '_'), t.value...)
		}
	}
	if n.raw = raw; len(raw) > maxKnown {
		n.out = clean(n.out[:0], raw)
		return string(n.out)
	}
	if name, ok := n.known[string(raw)]; ok {
		return name
	}
	n.out = clean(n.out[:0], raw)
	name := string(n.out)
	if n.known == nil {
		n.known = map[string]string{}
	}
	n.known[string(raw)] = name
	return name
}

// clean writes a name of [a-z_][a-z0-9_]{0,62}.
func clean(dst, raw []byte) []byte {
	if c := raw[0]; '0' <= c && c <= '9' {
		dst = append(dst, '_')
	}
	for _, c := range raw {
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		default:
			if c = '_'; len(dst) > 0 && dst[len(dst)-1] == '_' {
				continue
			}
		}
		if dst = append(dst, c); len(dst) > batch.MaxMetricName && c != '_' {
			break // it is too long whatever follows
		}
	}
	for len(dst) > 1 && dst[len(dst)-1] == '_' {
		dst = dst[:len(dst)-1]
	}
	if len(dst) <= batch.MaxMetricName {
		return dst
	}
	// Names that begin alike stay apart by a hash of what they were.
	const digits = 10
	h := fnv.New64a()
	_, _ = h.Write(raw) // never fails
	sum := strconv.FormatUint(h.Sum64()>>(64-4*digits)|1<<(4*digits), 16)[1:]
	return append(append(dst[:batch.MaxMetricName-digits-1], '_'), sum...)
}
