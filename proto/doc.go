// Package proto is the root of the wire contract: what a device says and what the log holds. FORMAT.md beside
// it is the text of the contract; the packages below it are its codecs. It imports no other module of Muster.
package proto
