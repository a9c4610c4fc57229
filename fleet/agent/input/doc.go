// Package input is how programs on a device say their readings to its agent: lines, on a unix socket or on standard input.
//
//	temp_c 21.5
//	temp_c 21.5 1795341850123
//	door open
//	{"ts":1795341850123,"metrics":{"temp_c":21.5,"door":"open"}}
//	{"type":"crash","reason":"pump_stuck","task":"pump"}
//
// A line is a metric, a value and perhaps a time, with blanks between; or a JSON object: readings of one time, or an event.
// A value that is a number is one; true and false are truth values; anything else is a text. A time is Unix milliseconds, or
// RFC 3339; without one it is now.
//
// On a socket two more lines are understood: `sync`, which is answered by `ok N` when the N lines since the last one are on
// the disk, and `status`, which is answered by one line of JSON. The end of what is sent counts as sync. A line that cannot
// be used is answered by `error line N: why`, and the others are taken all the same. Lines have at most 64 KiB, a socket
// at most 32 users at once.
package input
