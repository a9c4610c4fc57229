// Package send carries what lies in a device's ring to the gateway, one message at a time, by HTTPS with the device's
// certificate.
//
// Contract, by answer. 200: the message is in the log, and is let go. 400, 409, 413, 415, 422 and any other 4xx that is
// about the message: it never will be; it is let go, counted, and said in the log. 429, 408, 5xx or no answer: kept, and
// the same bytes are sent again after Retry-After or a growing pause; the gateway knows a retry by the message's key.
// 403, 404, 405, a redirection, and a certificate that is refused at the handshake are about the device or the way, not
// about the message: it is kept, and tried again every few minutes, since an operator may change that. The gateway of
// another region that a 403 names is taken for the next attempts.
//
// It builds no messages and keeps none: the ring does, and its order is the order of sending.
package send
