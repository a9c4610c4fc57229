// Package wholefile writes files that are there whole or not at all: keys, certificates and secrets, of which half a
// one locks its holder out.
//
// On nil a reader, also one after a power cut, finds the new content; on an error, the old one, or none if there was
// none. Before the file has its name only its owner can read it. Of two writers of one path at once the last one holds.
//
// It does not append, and does not make directories. It is the twin of services/registry/wholefile, which a device may not
// import.
package wholefile
