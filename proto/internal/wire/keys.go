package wire

import (
	"bytes"
	"hash/maphash"
)

// keys finds a key that a map has twice. Keys of the maps that are open lie on one stack; a map is looked at when
// it ends. Memory: 8 bytes a key of an open map, and one table of 4 KiB.
type keys struct {
	spans []span
	table [2048]uint16
}

type span struct{ from, to uint32 }

var seed = maphash.MakeSeed()

func (k *keys) push(from, to int) { k.spans = append(k.spans, span{uint32(from), uint32(to)}) }

// pop takes the keys from base on off the stack and gives one that is there twice.
func (k *keys) pop(base int, text []byte) (span, bool) {
	own := k.spans[base:]
	k.spans = k.spans[:base]
	if len(own) <= 8 {
		for i, s := range own {
			for _, o := range own[:i] {
				if bytes.Equal(text[s.from:s.to], text[o.from:o.to]) {
					return s, true
				}
			}
		}
		return span{}, false
	}
	size := 16
	for size < 2*len(own) {
		size *= 2
	}
	table := k.table[:size]
	clear(table)
	for i, s := range own {
		key := text[s.from:s.to]
		h := maphash.Bytes(seed, key) & uint64(size-1)
		for ; table[h] != 0; h = (h + 1) & uint64(size-1) {
			o := own[table[h]-1]
			if bytes.Equal(text[o.from:o.to], key) {
				return s, true
			}
		}
		table[h] = uint16(i + 1)
	}
	return span{}, false
}
