package clickhouse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// plain writes a result as the library gave it.
func plain(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}

// newUpgrader rewrites Native blocks to the revision that a client asks for with client_protocol_version. The
// library writes revision 0: no block info, and no byte that tells a column's serialization. A client that asked
// for 54454 or later, as clickhouse-go does, reads both.
func newUpgrader(version string) func(io.Writer, []byte) error {
	revision, err := strconv.ParseUint(version, 10, 32)
	if err != nil || revision == 0 {
		return plain
	}
	var buf chproto.Buffer
	return func(w io.Writer, b []byte) error {
		in := bytes.NewReader(b)
		r := chproto.NewReader(in)
		for {
			block := proto.Block{ServerContext: &column.ServerContext{Revision: revision, VersionMajor: 26, VersionMinor: 7, Timezone: time.UTC}}
			if err := block.Decode(r, 0); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return exceptionf(codeInternal, "Cannot rewrite the result for the client: %s. (UNKNOWN_EXCEPTION)", err)
			}
			if block.Rows() == 0 {
				continue // it would be encoded with a dictionary that no reader expects
			}
			buf.Reset()
			if err := block.Encode(&buf, revision); err != nil {
				return fmt.Errorf("encode a Native block: %w", err)
			}
			if _, err := w.Write(buf.Buf); err != nil {
				return err
			}
		}
	}
}
