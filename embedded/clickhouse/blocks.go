package clickhouse

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/ClickHouse/ch-go/compress"
)

// A compressed block of ClickHouse begins with a checksum of 16 bytes, its method, and its size before (with 9 bytes
// of header) and after decompression.
const (
	blockHeader   = 25
	blockDataSize = 21
)

// blockReader decompresses a body sent with decompress=1. It ends well only between two blocks: ch-go's reader
// reports a body that was cut after a header by the same io.EOF as one that is whole.
type blockReader struct {
	in   *bufio.Reader
	out  *compress.Reader
	left uint32 // of the block that out is in
}

func newBlockReader(r io.Reader) *blockReader {
	in := bufio.NewReaderSize(r, 64<<10)
	return &blockReader{in: in, out: compress.NewReader(in)}
}

func (b *blockReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if b.left == 0 {
		head, err := b.in.Peek(blockHeader)
		if len(head) == 0 {
			return 0, err
		}
		if len(head) < blockHeader {
			return 0, io.ErrUnexpectedEOF
		}
		b.left = binary.LittleEndian.Uint32(head[blockDataSize:])
	}
	n, err := b.out.Read(p[:min(uint32(len(p)), b.left)])
	b.left -= uint32(n)
	if errors.Is(err, io.EOF) {
		return n, io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, exceptionf(271, "Cannot decompress the body: %s. (CANNOT_DECOMPRESS)", err)
	}
	return n, nil
}
