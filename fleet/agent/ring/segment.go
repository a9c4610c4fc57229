package ring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// A segment's file:
//
//	header  magic 8 | first id 8 | salt 4 | CRC-32C of these 4
//	record  salt 4 | CRC-32C of what follows 4 | length of the value 4 | index 4 | kind 1 | value
//
// and the marks of its values that are done:
//
//	mark    index 4 | CRC-32C of salt and index 4
//
// Numbers are big-endian. A value's id is the segment's first id and its index; an index that is left out was lost.
const (
	magic      = "mring\x00\x01\n"
	headerSize = 24
	recordHead = 17
	markSize   = 8

	segmentSuffix = ".seg"
	marksSuffix   = ".done"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// State of a value in memory.
const (
	unsafe  byte = iota // written, not yet on the disk for certain
	waiting             // Next may hand it out
	out                 // handed out
	gone                // done, or lost
)

type segment struct {
	first   uint64
	salt    uint32
	end     int64 // where the next record goes
	tail    int64 // bytes behind that which are none
	offsets []uint32
	states  []byte
	waiting int
	out     int
	lo, hi  int // values that wait have an index of [lo, hi)

	file     file // nil: not open
	marks    file
	marksEnd int64
	broken   bool // must not be written any more
}

func nameOf(first uint64, suffix string) string { return fmt.Sprintf("%016x%s", first, suffix) }

func parseName(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, err == nil && nameOf(n, suffix) == name
}

func (s *segment) header() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint64(b, s.first)
	b = binary.BigEndian.AppendUint32(b, s.salt)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

var errHeader = errors.New("ring: not a segment's header")

func readHeader(p []byte, first uint64) (*segment, error) {
	if len(p) < headerSize || string(p[:8]) != magic || binary.BigEndian.Uint64(p[8:]) != first ||
		binary.BigEndian.Uint32(p[20:]) != crc32.Checksum(p[:20], castagnoli) {
		return nil, errHeader
	}
	return &segment{first: first, salt: binary.BigEndian.Uint32(p[16:]), end: headerSize}, nil
}

func (s *segment) record(dst, value []byte, index int, kind uint8) []byte {
	dst = binary.BigEndian.AppendUint32(dst, s.salt)
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(index))
	dst = append(dst, kind)
	dst = append(dst, value...)
	binary.BigEndian.PutUint32(dst[at:], crc32.Checksum(dst[at+4:], castagnoli))
	return dst
}

// parseRecord reads the record that p begins with. work is reduced by the bytes that were summed.
func (s *segment) parseRecord(p []byte, work *int64) (index int, kind uint8, value []byte, ok bool) {
	if len(p) < recordHead || binary.BigEndian.Uint32(p) != s.salt {
		return 0, 0, nil, false
	}
	n := int64(binary.BigEndian.Uint32(p[8:]))
	if n > int64(len(p)-recordHead) {
		return 0, 0, nil, false
	}
	if *work -= recordHead + n; *work < 0 {
		return 0, 0, nil, false
	}
	if binary.BigEndian.Uint32(p[4:]) != crc32.Checksum(p[8:recordHead+n], castagnoli) {
		return 0, 0, nil, false
	}
	return int(binary.BigEndian.Uint32(p[12:])), p[16], p[recordHead : recordHead+n], true
}

// found is what a scan of a segment's bytes gave.
type found struct {
	bad  Lost  // between good records
	tail int64 // bytes after the last good record
}

// scan fills the segment from its file's bytes. It takes time in the order of len(p).
func (s *segment) scan(p []byte) (f found) {
	salt := binary.BigEndian.AppendUint32(nil, s.salt)
	work := 8 * int64(len(p)) // a healthy file takes 1; what is left is for what looks like a record and is none
	for at := int64(headerSize); at < int64(len(p)); {
		index, _, value, ok := s.parseRecord(p[at:], &work)
		// A value has at least its record's head, so a file has no more indexes than it has room for; a gap is of what was lost.
		if ok && (index < len(s.offsets) || index > len(p)/recordHead) {
			ok = false
		}
		if !ok {
			next := bytes.Index(p[at+1:], salt)
			if next < 0 || work < 0 {
				break
			}
			at += 1 + int64(next)
			continue
		}
		f.bad.Bytes += uint64(at - s.end)
		for len(s.offsets) < index {
			s.offsets, s.states = append(s.offsets, 0), append(s.states, gone)
			f.bad.Messages++
		}
		s.offsets, s.states = append(s.offsets, uint32(at)), append(s.states, waiting)
		s.waiting++
		at += recordHead + int64(len(value))
		s.end = at
	}
	f.tail = int64(len(p)) - s.end
	s.hi = len(s.states)
	return f
}

func (s *segment) mark(index int) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, markSize), uint32(index))
	return binary.BigEndian.AppendUint32(b, s.markSum(b))
}

func (s *segment) markSum(index []byte) uint32 {
	return crc32.Update(s.salt, castagnoli, index)
}

// readMarks takes the values that are done out of the segment. A mark that is not as it was written marks nothing.
func (s *segment) readMarks(p []byte) {
	for len(p) >= markSize {
		index := int64(binary.BigEndian.Uint32(p))
		if binary.BigEndian.Uint32(p[4:]) == s.markSum(p[:4]) && index < int64(len(s.states)) && s.states[index] == waiting {
			s.states[index] = gone
			s.waiting--
		}
		p = p[markSize:]
	}
}

// size is how many bytes the i-th value's record takes, at most.
func (s *segment) size(i int) int64 {
	for _, next := range s.offsets[i+1:] {
		if next != 0 {
			return int64(next) - int64(s.offsets[i])
		}
	}
	return s.end - int64(s.offsets[i])
}

// oldest and newest give the index of a value that waits; there is one.
func (s *segment) oldest() int {
	for s.states[s.lo] != waiting {
		s.lo++
	}
	return s.lo
}

func (s *segment) newest() int {
	for s.states[s.hi-1] != waiting {
		s.hi--
	}
	return s.hi - 1
}

func (s *segment) wait(i int) {
	s.states[i] = waiting
	s.waiting++
	s.lo, s.hi = min(s.lo, i), max(s.hi, i+1)
}

func (s *segment) bytes() int64 { return s.end + s.tail + s.marksEnd }

func (s *segment) empty() bool { return s.waiting == 0 && s.out == 0 }

func (s *segment) close() error {
	var err error
	if s.file != nil {
		err = s.file.Close()
	}
	if s.marks != nil {
		err = errors.Join(err, s.marks.Close())
	}
	s.file, s.marks = nil, nil
	return err
}
