// Package fastpath answers the requests of a kept HTTP/1.1 connection that begin as one before them did.
//
// A device says the same head with every message: request line, Host, Content-Type, each byte as before, but for the
// digits of Content-Length. net/http has read that head once and found nothing wrong with it; reading it again, with
// timers, contexts, maps and a goroutine for each request, is half of what a message costs in user space. So the
// connection remembers the head that net/http was given last, and what it means once its message is stored. When net/http
// waits for the next request, and the bytes that come are that very head, a length, and a whole body of that length and
// nothing after it, the request is answered right there, and net/http goes on waiting. Anything else is given to net/http
// as it came, which stays the only parser of HTTP/1.1 here and the only judge of what is malformed, slow or too long.
//
// What it does not do: HTTP/2, chunked bodies, bodies that do not fit net/http's buffer with their head (4 KiB) or come
// more than a second after it, heads in pieces, pipelining, Expect, and the first request of a connection. All of these
// are net/http's, and cost as much as before.
package fastpath
