// Package parcel is what an edge keeps on its disk for each message that it answers for: whose it is, of which stream
// and in which form, when it came, and the body under its key, exactly as it will be sent upstream.
//
// The bytes are read by the edge that wrote them, or a later version of it after an update, and by nobody else:
//
//	+---+------+--------+------------+-----+--------+------+
//	| 1 | kind | at     | device len | ... | device | body |
//	+---+------+--------+------------+-----+--------+------+
//	 u8  u8     i64 BE   u8                          the rest
//
// kind is 2*form + stream. What cannot be read is an error, and lets the reader go on with the next.
package parcel
