package clickhouse

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unsafe"
)

// insertSettings hold for every INSERT with data, under what the request itself sets.
//
// One POST becomes one block, and so one part in each partition and one entry in each deduplication log: a token
// stands for the whole POST, and a retry of the same bytes under the same token is dropped as a whole, partition
// by partition. Bodies are bounded by Config.MaxBody, so the thresholds below are never reached.
//
//	max_insert_block_size         no row format cuts its rows into blocks
//	min_insert_block_size_rows    neither count nor size makes the squashing pass on a block early
//	min_insert_block_size_bytes
//	max_insert_threads            blocks keep their order
//	input_format_parallel_parsing parallel parsers cut row formats at byte counts
//	input_format_skip_unknown_fields  a Native or JSON column that the table has not is an error (the library's
//	                              own default skips it, as clickhouse-local does)
//	insert_deduplicate            insert_deduplication_token works for tables with a window
//	async_insert                  an answer means stored
var insertSettings = []setting{
	{"max_insert_block_size", "1000000000"},
	{"min_insert_block_size_rows", "1000000000"},
	{"min_insert_block_size_bytes", "10000000000"},
	{"max_insert_threads", "1"},
	{"input_format_parallel_parsing", "0"},
	{"input_format_skip_unknown_fields", "0"},
	{"insert_deduplicate", "1"},
	{"async_insert", "0"},
}

// insertChunk is how much of a body goes to the engine at once.
const insertChunk = 1 << 20

// written is what an INSERT reports.
type written struct{ rows, bytes uint64 }

// insert sends rows to the engine as they arrive. On an error of the body nothing is stored: the engine writes a
// block when its input ends, and a failed insert is cancelled before.
func (c *conn) insert(s statement, format string, body io.Reader) (written, error) {
	if strings.EqualFold(format, "Native") {
		checked, err := checkNative(bufio.NewReaderSize(body, 64<<10), s.columns)
		if err != nil {
			return written{}, err
		}
		body = checked
	}
	q, ql := text(s.head)
	f, fl := text(format)
	stream := c.lib.insert(c.handle(), q, ql, f, fl)
	if stream == nil {
		return written{}, errors.New("the engine opened no insert")
	}
	defer c.lib.insertDestroy(stream)
	if msg := cString(c.lib.insertError(stream)); msg != "" {
		return written{}, parseException(msg)
	}
	buf := make([]byte, insertChunk)
	for {
		n, err := fillBuffer(body, buf)
		if n > 0 && (err == nil || err == io.EOF) && c.lib.insertAppend(stream, unsafe.Pointer(&buf[0]), uintptr(n)) != 0 {
			msg := cString(c.lib.insertError(stream))
			c.lib.insertCancel(stream)
			return written{}, parseException(msg)
		}
		if err == io.EOF { // and no other: a body that breaks off ends in io.ErrUnexpectedEOF
			break
		}
		if err != nil {
			c.lib.insertCancel(stream)
			return written{}, fmt.Errorf("read the body: %w", err)
		}
	}
	r, err := c.result(c.lib.insertDone(stream))
	if err != nil {
		return written{}, err
	}
	defer r.close()
	return written{c.lib.rowsWritten(r.h), c.lib.bytesWritten(r.h)}, nil
}

// fillBuffer reads until buf is full or the reader ends. io.ReadFull would tell a short last piece by the same
// error as a body that broke off.
func fillBuffer(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var k int
		k, err = r.Read(buf[n:])
		n += k
	}
	return n, err
}

// checkNative refuses a Native body whose first block has fewer or more columns than the INSERT names. The engine
// refuses a column it does not know (see insertSettings), and fills one that is missing with its default, which
// hides a mistake of the sender: with the counts equal and every name known, the names are the same.
func checkNative(body *bufio.Reader, columns int) (io.Reader, error) {
	head, err := body.Peek(binary.MaxVarintLen64)
	if len(head) == 0 {
		if errors.Is(err, io.EOF) {
			return body, nil // no rows
		}
		return nil, fmt.Errorf("read the body: %w", err)
	}
	n, used := binary.Uvarint(head)
	if used <= 0 {
		return nil, exceptionf(33, "Native block begins with no column count. (CANNOT_READ_ALL_DATA)")
	}
	if columns >= 0 && n != uint64(columns) {
		return nil, exceptionf(codeColumnsMismatch, "Native block has %s columns, the INSERT names %d. (NUMBER_OF_COLUMNS_DOESNT_MATCH)", strconv.FormatUint(n, 10), columns)
	}
	return body, nil
}
