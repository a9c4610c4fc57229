// Package outage waits out the outages of what a room works with, for as long as they last: a room that follows the
// log or the store never gives up by itself, because its context is the limit.
//
// What may give up, or answers somebody who waits, does not belong here: it says its own limit where it retries.
package outage
