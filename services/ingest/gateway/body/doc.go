// Package body reads one request body into memory that is used again, within bounds that hold at every byte: bytes on
// the wire, bytes after decompression, how much it may grow, how slowly it may come, one gzip member or one zstd frame
// with nothing behind it.
//
// Every byte that is buffered is first taken from the budget of bytes in flight; Release gives it back. A Reader is
// for one request at a time; keep them in a pool.
package body
