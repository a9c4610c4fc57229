// Package admit decides, before a byte of a body is buffered, whether the gateway can afford a request: a token bucket
// for each device (messages and bytes), and budgets for all: of bytes in flight, requests, connections. All of it is bounded by configuration and by nothing that a client sends.
//
// It is pure state with a clock passed in; what is told to a client lies in answer.
package admit
